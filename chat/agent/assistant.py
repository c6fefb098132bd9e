"""The built-in agent: its instruction, its model by the settings, a few real tools."""

from django.conf import settings
from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, Gemini
from google.genai import types

from chat.agent import transport
from chat.agent.demo_model import DemoModel
from chat.agent.tools import built_in

# Before the first token alone: the client never repeats a request whose answer has begun.
RETRIES = types.HttpRetryOptions(attempts=3, initial_delay=0.5, max_delay=4)


def has_key() -> bool:
    return bool(settings.GOOGLE_API_KEY or settings.USE_VERTEX)


def model() -> BaseLlm:
    """Gemini where there is a key, else the demo model."""
    if not has_key():
        return DemoModel(model="demo")
    # One named transport: google-genai takes aiohttp where some other package brings it, which
    # counts the whole stream against its time-out.
    options = types.HttpOptions(httpx_async_client=transport.client())
    account = {"enterprise": True} if settings.USE_VERTEX else {"api_key": settings.GOOGLE_API_KEY}
    return Gemini(
        model=settings.CHAT_MODEL,
        retry_options=RETRIES,
        client_kwargs={"http_options": options, **account},
    )


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
