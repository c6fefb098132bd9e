"""Has a node that raises."""

from google.adk.workflow import START, Workflow


def broken(node_input):
    raise ValueError("the ledger is closed")


root_agent = Workflow(name="root", edges=[(START, broken)])
