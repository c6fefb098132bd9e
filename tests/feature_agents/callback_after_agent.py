"""Has a callback that adds a text after the agent has run."""

from _scripted import scripted
from google.genai import types


def remark(callback_context):
    return types.Content(role="model", parts=[types.Part(text="This was checked twice.")])


root_agent = scripted("It weighs a ton.", after_agent_callback=remark)
