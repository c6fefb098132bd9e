"""Has a callback that answers before the agent runs."""

from _scripted import scripted
from google.genai import types


def closed(callback_context):
    callback_context.state["asked"] = True
    return types.Content(role="model", parts=[types.Part(text="The office is closed.")])


root_agent = scripted("Never said.", before_agent_callback=closed)
