"""A sequence: each agent leaves its text in the state, where the next one's instruction finds it."""

from google.adk.agents import LlmAgent, SequentialAgent

MODEL = "gemini-2.5-flash"

outliner = LlmAgent(
    name="outliner", model=MODEL, instruction="Outline a story in three lines.", output_key="outline"
)
writer = LlmAgent(
    name="writer", model=MODEL, instruction="Write the story of this outline: {outline}", output_key="story"
)
editor = LlmAgent(name="editor", model=MODEL, instruction="Shorten this story: {story}")

root_agent = SequentialAgent(
    name="story_pipeline",
    description="Outlines, writes and edits a short story.",
    sub_agents=[outliner, writer, editor],
)
