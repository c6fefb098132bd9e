"""Keeps the last turn only, by a plugin."""

from _scripted import Mirror
from google.adk.agents import Agent
from google.adk.apps import App
from google.adk.plugins.context_filter_plugin import ContextFilterPlugin

QUESTIONS = ["One?", "Two?", "Three?"]
app = App(
    name="context_filtered",
    root_agent=Agent(name="root", model=Mirror()),
    plugins=[ContextFilterPlugin(num_invocations_to_keep=1)],
)
