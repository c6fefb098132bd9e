"""Gives all agents an instruction, by a plugin."""

from _scripted import Mirror
from google.adk.agents import Agent
from google.adk.apps import App
from google.adk.plugins.global_instruction_plugin import GlobalInstructionPlugin

app = App(
    name="plugin_with_a_global_instruction",
    root_agent=Agent(name="root", model=Mirror(), instruction="Be brief."),
    plugins=[GlobalInstructionPlugin("Speak as a sailor.")],
)
