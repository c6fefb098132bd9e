"""Stores each agent's answer under a key, and one for the turn only."""

from _scripted import Mirror, scripted
from google.adk.agents import Agent, SequentialAgent

first = scripted("A seed.", name="first", output_key="temp:seed")
second = Agent(name="second", model=Mirror(), instruction="Grow {temp:seed}", output_key="plant")
QUESTIONS = ["Sow.", "Again."]
root_agent = SequentialAgent(name="root", sub_agents=[first, second])
