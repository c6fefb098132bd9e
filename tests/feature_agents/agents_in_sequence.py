"""Runs two agents one after the other; the second reads the first one's words from the state."""

from _scripted import Mirror, scripted
from google.adk.agents import Agent, SequentialAgent

writer = scripted("A draft about owls.", name="writer", output_key="draft")
reader = Agent(name="reader", model=Mirror(), instruction="Read this: {draft}")
root_agent = SequentialAgent(name="root", sub_agents=[writer, reader])
