"""Lets the model list and load files by ADK's own tool."""

from _scripted import call, scripted
from google.adk.tools import load_artifacts
from google.genai import types


async def prepare(callback_context):
    await callback_context.save_artifact("map.txt", types.Part(text="North is up."))


root_agent = scripted(
    [call("load_artifacts", artifact_names=["map.txt"])],
    "North is up.",
    tools=[load_artifacts],
    before_agent_callback=prepare,
)
