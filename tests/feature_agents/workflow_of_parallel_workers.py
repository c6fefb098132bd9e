"""Works on each item of a list at the same time."""

from google.adk.workflow import START, Workflow, node


def split(node_input):
    return node_input.parts[0].text.split()


@node(parallel_worker=True)
def measure(node_input):
    return {node_input: len(node_input)}


QUESTIONS = ["some longer words"]
root_agent = Workflow(name="root", edges=[(START, split), (split, measure)])
