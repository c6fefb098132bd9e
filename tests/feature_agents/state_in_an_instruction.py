"""Puts state into its instruction, which a callback wrote."""

from _scripted import Mirror
from google.adk.agents import Agent


def set_name(callback_context):
    callback_context.state["name"] = "Ada"


root_agent = Agent(
    name="root",
    model=Mirror(),
    instruction="Call the user {name}, not {nickname?}.",
    before_agent_callback=set_name,
)
