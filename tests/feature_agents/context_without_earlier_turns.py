"""Sends its model only the current turn."""

from _scripted import Mirror
from google.adk.agents import Agent

QUESTIONS = ["One?", "Two?"]
root_agent = Agent(
    name="root",
    model=Mirror(),
    include_contents="none",
    static_instruction="You never change.",
    instruction="You may change.",
)
