"""Repeats two agents until one calls exit_loop."""

from _scripted import call, scripted
from google.adk.agents import LoopAgent
from google.adk.tools import exit_loop

critic = scripted("Too long.", [call("exit_loop")], name="critic", tools=[exit_loop])
writer = scripted("A long draft.", "A short one.", name="writer")
root_agent = LoopAgent(name="root", max_iterations=5, sub_agents=[writer, critic])
