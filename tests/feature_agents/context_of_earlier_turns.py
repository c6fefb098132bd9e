"""Repeats what its model received in the third turn of a conversation."""

from _scripted import Mirror
from google.adk.agents import Agent

QUESTIONS = ["One?", "Two?", "Three?"]
root_agent = Agent(name="root", model=Mirror(), instruction="Be exact.")
