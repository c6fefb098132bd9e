"""Prepares a question in a function, and lets an agent answer it with an object."""

from _scripted import scripted
from google.adk.workflow import START, Workflow
from pydantic import BaseModel


class Verdict(BaseModel):
    good: bool


def prepare(node_input):
    return f"Is this good: {node_input.parts[0].text}"


judge = scripted('{"good": true}', name="judge", output_schema=Verdict)
root_agent = Workflow(name="root", edges=[(START, prepare), (prepare, judge)])
