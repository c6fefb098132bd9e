"""Puts a file's text into its instruction."""

from _scripted import Mirror
from google.adk.agents import Agent
from google.adk.agents.callback_context import CallbackContext
from google.genai import types


async def prepare(callback_context: CallbackContext):
    await callback_context.save_artifact("rules.txt", types.Part(text="Be brief and kind."))


root_agent = Agent(
    name="root", model=Mirror(), instruction="Follow {artifact.rules.txt}", before_agent_callback=prepare
)
