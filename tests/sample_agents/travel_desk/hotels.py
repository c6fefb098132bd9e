"""The agent of hotels, in code."""

from google.adk.agents import LlmAgent

hotels = LlmAgent(
    name="hotels", model="gemini-2.5-flash", description="Finds hotels.", instruction="Find hotels."
)
