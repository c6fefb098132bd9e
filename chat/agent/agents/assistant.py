"""The built-in agent: its instruction, its model by the settings, a few real tools."""

from django.conf import settings
from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm
from google.genai import types

from chat.agent.agents import gemini
from chat.agent.agents.demo_model import DemoModel
from chat.agent.agents.tools import built_in


def model() -> BaseLlm:
    """Gemini where there is an account, else the demo model."""
    account = gemini.own_account()
    return gemini.model(settings.CHAT_MODEL, account) if account else DemoModel(model="demo")


def build() -> LlmAgent:
    """The agent as the settings describe it."""
    return LlmAgent(
        name=settings.AGENT_NAME,
        description=settings.AGENT_DESCRIPTION,
        # A function: as text, "{name}" in it would be looked up in the session's state.
        instruction=lambda _context: settings.AGENT_INSTRUCTION,
        model=model(),
        tools=[*built_in()],
        generate_content_config=types.GenerateContentConfig(
            temperature=settings.AGENT_TEMPERATURE,
            max_output_tokens=settings.AGENT_MAX_OUTPUT_TOKENS,
            thinking_config=_thinking(),
        ),
    )


def _thinking() -> types.ThinkingConfig | None:
    return types.ThinkingConfig(include_thoughts=True) if settings.AGENT_SHOWS_THOUGHTS else None
