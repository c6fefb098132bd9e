"""The keys and addresses in an agent's ``.env`` that its models read when they are called.

They are bound to the model while they are in the environment, because two agents may have different ones.
Gemini's account is in gemini.py.
"""

import sys
from collections.abc import Mapping
from typing import Any

from google.adk.models import BaseLlm
from google.adk.workflow import BaseNode

from chat.agent.agents.gemini import llm_agents

# ADK 2.13's attributes that hold a client, and the prefixes of the variables that the client reads once.
CLIENTS = {
    "_anthropic_client": ("ANTHROPIC_", "GOOGLE_CLOUD_"),
    "_openai_client": ("OPENAI_", "AZURE_OPENAI_"),
}
# LiteLLM's arguments, and the endings of the variables that it reads with each call.
LITELLM_ARGUMENTS = {
    "api_key": ("_API_KEY",),
    "api_base": ("_API_BASE", "_BASE_URL"),
    "api_version": ("_API_VERSION",),
}


def bind_accounts(root: BaseNode, variables: Mapping[str, str]) -> set[str]:
    """Bind ``variables`` to the models of ``root``, and return the names of those that a model uses.

    Call it while the variables are in the environment.
    """
    bound: set[str] = set()
    for agent in llm_agents(root) if variables else ():
        model = agent.canonical_model
        used = _bind_litellm(model, variables) | _build_client(model, variables)
        if used:
            agent.model = model  # it may have been only a name
            bound |= used
    return bound


def _bind_litellm(model: Any, variables: Mapping[str, str]) -> set[str]:
    module = sys.modules.get("google.adk.models.lite_llm")  # without LiteLLM there is none
    if module is None or not isinstance(model, module.LiteLlm):
        return set()
    arguments = model._additional_args
    provider = arguments.get("custom_llm_provider") or _provider_of(model.model)
    used: set[str] = set()
    for argument, endings in LITELLM_ARGUMENTS.items():
        name = next((name for ending in endings if (name := f"{provider}{ending}") in variables), None)
        if name and argument not in arguments:
            arguments[argument] = variables[name]
            used.add(name)
    return used


def _provider_of(model: str) -> str:
    """Return ``OLLAMA`` for ``ollama_chat/llama3``, as in the names of LiteLLM's variables."""
    provider, slash, _name = model.partition("/")
    if not slash:
        provider = "anthropic" if model.startswith("claude") else "openai"
    return provider.removesuffix("_chat").upper()


def _build_client(model: BaseLlm, variables: Mapping[str, str]) -> set[str]:
    for attribute, prefixes in CLIENTS.items():
        used = {name for name in variables if name.startswith(prefixes)}
        if used and hasattr(type(model), attribute):
            try:
                getattr(model, attribute)  # a cached property
            except Exception:  # noqa: BLE001 (it has no key: the first call says so, as under adk web)
                return set()
            return used
    return set()
