"""Chooses its next node by a route."""

from google.adk.events import Event
from google.adk.workflow import START, Workflow


def choose(node_input):
    yield Event(output="chosen", route="urgent" if "now" in node_input.parts[0].text else "later")


def urgent(node_input):
    return "It is done at once."


def later(node_input):
    return "It is noted down."


QUESTIONS = ["Do it now.", "Do it some day."]
root_agent = Workflow(name="root", edges=[(START, choose), (choose, {"urgent": urgent, "later": later})])
