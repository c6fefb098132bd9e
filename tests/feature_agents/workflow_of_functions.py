"""Ends with a function, whose value is the answer."""

from google.adk.workflow import START, Workflow


def split(node_input):
    return node_input.parts[0].text.split()


def count(node_input: list[str]):
    return {"words": len(node_input), "longest": max(node_input, key=len)}


QUESTIONS = ["How many words are there?"]
root_agent = Workflow(name="root", edges=[(START, split), (split, count)])
