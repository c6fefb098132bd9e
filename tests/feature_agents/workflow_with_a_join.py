"""Runs two functions and an agent in parallel, and joins their values."""

from _scripted import scripted
from google.adk.workflow import START, JoinNode, Workflow


def left(node_input):
    return "from the left"


def right(node_input):
    return {"from": "the right"}


thinker, join = scripted("A word in between.", name="thinker"), JoinNode(name="join")
root_agent = Workflow(name="root", edges=[(START, (left, right, thinker)), ((left, right, thinker), join)])
