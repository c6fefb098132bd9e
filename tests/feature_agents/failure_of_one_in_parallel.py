"""Runs two agents at the same time, one of which fails."""

from _scripted import response, scripted
from google.adk.agents import ParallelAgent

bad = scripted(response(error_code="SAFETY", error_message="blocked here"), name="bad")
root_agent = ParallelAgent(name="root", sub_agents=[bad, scripted("The other one answers.", name="good")])
