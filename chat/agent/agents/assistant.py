"""The built-in agent: instruction, model and tools, as the settings describe it."""

from django.conf import settings
from google.adk.agents import LlmAgent
from google.genai import types

from chat.agent.agents.chat_model import build_model
from chat.agent.agents.tools import built_in


def build() -> LlmAgent:
    """Return a new built-in agent."""
    return LlmAgent(
        name=settings.AGENT_NAME,
        description=settings.AGENT_DESCRIPTION,
        # A function: in a string, ADK replaces "{name}" by a value of the session's state.
        instruction=lambda _context: settings.AGENT_INSTRUCTION,
        model=build_model(),
        tools=[*built_in()],
        generate_content_config=types.GenerateContentConfig(
            temperature=settings.AGENT_TEMPERATURE,
            max_output_tokens=settings.AGENT_MAX_OUTPUT_TOKENS,
            thinking_config=types.ThinkingConfig(include_thoughts=True)
            if settings.AGENT_SHOWS_THOUGHTS
            else None,
        ),
    )
