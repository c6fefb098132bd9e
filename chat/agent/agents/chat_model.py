"""The built-in agent's model: CHAT_MODEL with its address and key, by any name that ADK knows."""

import importlib
import logging
from collections.abc import AsyncGenerator, Iterable
from typing import Any
from urllib.parse import urlsplit

import httpx
from django.conf import settings
from django.utils.translation import gettext as _
from google.adk.models import BaseLlm, Gemini, LLMRegistry, LlmRequest, LlmResponse
from google.adk.workflow import BaseNode

from chat.agent.agents import gemini, transport
from chat.agent.agents.demo_model import DemoModel
from chat.agent.agents.reasons import load_error
from chat.agent.turn.exception_details import details_of_event
from chat.agent.turn.failure_codes import AgentFailure


class MisconfiguredModel(BaseLlm):
    """Stands for a model that cannot be built. Each call fails with ``reason``."""

    reason: str

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        raise AgentFailure("misconfigured", self.reason, details_of_event("CHAT_MODEL", self.reason))
        yield  # makes it a generator


def build_model() -> BaseLlm:
    """Return the model that CHAT_MODEL names, or the demo model if that is Gemini and there is no account."""
    name = settings.CHAT_MODEL
    try:
        model = LLMRegistry.new_llm(name)
    except Exception as error:  # noqa: BLE001 (a package is missing, fails to import, or no provider has the name)
        return MisconfiguredModel(model=name, reason=str(load_error(error).reason))
    if isinstance(model, Gemini):
        account = {"api_key": settings.CHAT_API_KEY} if settings.CHAT_API_KEY else gemini.own_account()
        return gemini.with_account(model, account, settings.CHAT_API_BASE) if account else DemoModel()
    return _with_options(model)


def _with_options(model: BaseLlm) -> BaseLlm:
    """Return the model with CHAT_API_BASE and CHAT_API_KEY. Without them its library reads its variables."""
    base, key = settings.CHAT_API_BASE or None, settings.CHAT_API_KEY or None
    found: BaseLlm = model
    build: Any = type(model)
    # By name, because their modules need packages that may not be installed.
    match build.__name__:
        case "LiteLlm" | "Gemma3Ollama":
            import_litellm()
            # drop_params: a setting that a model does not know, such as a temperature, is left out.
            found = build(model=model.model, drop_params=True, **_given(api_base=base, api_key=key))
        case "OpenAILlm":
            found = build(model=model.model, **_given(base_url=base, api_key=key))
        case "Claude" if not settings.USE_VERTEX:
            # ADK takes the name for Claude on Vertex AI, and has another class for Anthropic's own API.
            from anthropic import AsyncAnthropic
            from google.adk.models.anthropic_llm import AnthropicLlm

            client = AsyncAnthropic(base_url=base, api_key=key) if base or key else None
            found = AnthropicLlm(model=model.model, client=client)
    return found


def import_litellm() -> Any:
    """Import litellm, which takes seconds, and keep its own output off the terminal. Returns the module."""
    litellm: Any = importlib.import_module("litellm")
    litellm.suppress_debug_info = True  # it prints advice on litellm beside each error
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"):
        logging.getLogger(
            name
        ).handlers.clear()  # ADK points them to stdout; Parley's log has the records too
    return litellm


async def close_models(root: BaseNode, others: Iterable[BaseNode]) -> None:
    """Close the HTTP clients of an agent's models, which ADK does not close, unless ``others`` use them.

    LiteLlm shares its clients.
    """
    used = [client for other in others for client in _clients_of(other)]
    for client in _clients_of(root):
        if any(client is each for each in used):
            continue
        if isinstance(client, httpx.AsyncClient):
            await transport.close_client(client)
        else:
            await client.close()


def _clients_of(root: BaseNode) -> list[Any]:
    """Return the clients of Anthropic's and OpenAI's models, and the transports of Gemini models."""
    found = []
    for agent in gemini.llm_agents(root):
        opened = vars(agent.canonical_model)
        options = (opened.get("client_kwargs") or {}).get("http_options")
        names = ("_openai_client", "_anthropic_client")
        found += [*(opened.get(name) for name in names), getattr(options, "httpx_async_client", None)]
    return [client for client in found if client is not None]


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


def sentence(model: BaseLlm) -> str:
    """Return the sentence that says which model answers."""
    if isinstance(model, DemoModel):
        return _("Answers come from the demo model. Set GOOGLE_API_KEY, or CHAT_MODEL, for a real one.")
    if isinstance(model, MisconfiguredModel):
        return _("CHAT_MODEL=%(model)s cannot answer. %(reason)s") % {
            "model": model.model,
            "reason": model.reason,
        }
    if not settings.CHAT_API_BASE:
        return _("Answers come from %(model)s.") % {"model": settings.CHAT_MODEL}
    address = urlsplit(settings.CHAT_API_BASE)
    shown = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()  # without a password
    return _("Answers come from %(model)s at %(address)s.") % {"model": settings.CHAT_MODEL, "address": shown}
