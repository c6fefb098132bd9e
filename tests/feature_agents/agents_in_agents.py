"""Nests a loop in a sequence in a parallel agent."""

from _scripted import scripted
from google.adk.agents import LoopAgent, ParallelAgent, SequentialAgent

twice = LoopAgent(
    name="twice", max_iterations=2, sub_agents=[scripted("Again one.", "Again two.", name="echo")]
)
steps = SequentialAgent(name="steps", sub_agents=[scripted("Step.", name="step"), twice])
root_agent = ParallelAgent(name="root", sub_agents=[steps, scripted("Aside.", name="aside")])
