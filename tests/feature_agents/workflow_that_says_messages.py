"""Says messages from its functions, besides their values."""

from google.adk.events import Event
from google.adk.workflow import START, Workflow
from google.genai import types


def tell(node_input):
    yield Event(content=types.Content(role="model", parts=[types.Part(text="I begin to count.")]))
    yield Event(output=3)


def end(node_input):
    return f"Counted to {node_input}."


root_agent = Workflow(name="root", edges=[(START, tell), (tell, end)])
