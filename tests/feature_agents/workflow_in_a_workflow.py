"""Uses a workflow as a node."""

from google.adk.workflow import START, Workflow


def inner_step(node_input):
    return "inner value"


def outer_step(node_input):
    return f"outer value of {node_input}"


inner = Workflow(name="inner", edges=[(START, inner_step)])
root_agent = Workflow(name="root", edges=[(START, inner), (inner, outer_step)])
