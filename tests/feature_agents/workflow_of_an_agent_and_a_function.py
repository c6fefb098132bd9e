"""Hands an agent's text to a function, which ends with a text."""

from _scripted import scripted
from google.adk.workflow import START, Workflow

writer = scripted("a quiet line", name="writer")


def shout(node_input):
    return str(node_input).upper() + "!"


root_agent = Workflow(name="root", edges=[(START, writer), (writer, shout)])
