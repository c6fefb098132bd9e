"""Asks the user for input in the middle."""

from _scripted import scripted
from google.adk.events import RequestInput
from google.adk.workflow import START, Workflow

clerk = scripted("Let me see.", name="clerk")


def ask(node_input):
    yield RequestInput(message="Which city?")


def end(node_input):
    return f"Booked: {node_input}"


QUESTIONS = ["A room, please."]
root_agent = Workflow(name="root", edges=[(START, clerk), (clerk, ask), (ask, end)])
