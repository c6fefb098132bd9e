"""Is a resumable app whose root is a sequence."""

from _scripted import scripted
from google.adk.agents import SequentialAgent
from google.adk.apps import App, ResumabilityConfig

QUESTIONS = ["One?", "Two?"]
steps = SequentialAgent(
    name="root", sub_agents=[scripted("First.", name="first"), scripted("Second.", name="second")]
)
app = App(
    name="wait_in_a_resumable_sequence",
    root_agent=steps,
    resumability_config=ResumabilityConfig(is_resumable=True),
)
