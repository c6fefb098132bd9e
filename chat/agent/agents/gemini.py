"""Gemini models: the account that pays, and Parley's transport for all of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, Gemini
from google.adk.tools import AgentTool
from google.adk.workflow import BaseNode
from google.genai import types

from chat.agent.agents import transport

# They apply only before the first token: google-genai never repeats a request whose stream has begun.
RETRIES = types.HttpRetryOptions(attempts=3, initial_delay=0.5, max_delay=4)
VERTEX_SWITCHES = ("GOOGLE_GENAI_USE_ENTERPRISE", "GOOGLE_GENAI_USE_VERTEXAI")
ACCOUNT_VARIABLES = {
    "GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_GEMINI_BASE_URL", *VERTEX_SWITCHES,
}  # fmt: skip
TRUE_VALUES = {"1", "true", "yes", "on"}

Account = dict[str, Any]  # keyword arguments of google-genai's Client


def own_account() -> Account | None:
    """Return the account in Parley's settings, or None."""
    if settings.USE_VERTEX:
        return {"enterprise": True}
    return {"api_key": settings.GOOGLE_API_KEY} if settings.GOOGLE_API_KEY else None


def account_from(variables: Mapping[str, str]) -> Account | None:
    """Return the account in the ``variables`` that google-genai reads, or None."""
    if any(variables.get(name, "").strip().lower() in TRUE_VALUES for name in VERTEX_SWITCHES):
        project, location = variables.get("GOOGLE_CLOUD_PROJECT"), variables.get("GOOGLE_CLOUD_LOCATION")
        return {"enterprise": True, "project": project or None, "location": location or None}
    key = variables.get("GOOGLE_API_KEY") or variables.get("GEMINI_API_KEY")
    return {"api_key": key} if key else None


def client_options(account: Account, base_url: str = "") -> dict[str, Any]:
    """Return the arguments for google-genai's Client: the account and Parley's transport."""
    # Name the transport: google-genai 2 uses aiohttp if any package has installed it, and aiohttp
    # counts the whole stream against its time-out.
    options = types.HttpOptions(httpx_async_client=transport.client(), base_url=base_url or None)
    return {"http_options": options, **account}


def with_account(model: Gemini, account: Account, base_url: str = "") -> Gemini:
    """Return a copy of ``model`` with an account and Parley's transport."""
    options = client_options(account, base_url)
    retries = model.retry_options or RETRIES
    return model.model_copy(update={"retry_options": retries, "client_kwargs": options})


def set_account(root: BaseNode, account: Account | None, base_url: str = "") -> bool:
    """Give ``account`` and Parley's transport to the Gemini models of a folder's agent.

    ``base_url`` is the address of its server; empty for Google's, or that of the process's environment.

    A model that has client options of its own stays as it is, and so does any model that is not Gemini.
    Returns False if a model needs an account and there is none. Raises ValueError for a model name that
    ADK does not know.
    """
    options: dict[str, Any] = {}  # one transport for all of them
    for agent in llm_agents(root):
        model = agent.canonical_model  # its own, or its parent's, which has the account already
        if not isinstance(model, Gemini) or model.client_kwargs or model.client or model.base_url:
            continue
        if account is None:
            return False
        options = options or client_options(account, base_url)
        retries = model.retry_options or RETRIES
        agent.model = model.model_copy(update={"retry_options": retries, "client_kwargs": options})
    return True


def uses_our_transport(model: BaseLlm) -> bool:
    """Return whether this is a Gemini model with Parley's transport."""
    options = (model.client_kwargs or {}).get("http_options") if isinstance(model, Gemini) else None
    return transport.is_ours(getattr(options, "httpx_async_client", None))


def llm_agents(root: BaseNode) -> Iterator[LlmAgent]:
    """Yield the agents that have a model, each one once and parents first.

    They are ``root``, its sub-agents, agents that are tools of another agent, and nodes of a workflow.
    """
    seen: set[int] = set()
    queue: list[Any] = [root]
    while queue:
        node = queue.pop(0)
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, LlmAgent):
            yield node
            queue += [tool.agent for tool in node.tools if isinstance(tool, AgentTool)]
        queue += getattr(node, "sub_agents", None) or []
        queue += getattr(getattr(node, "graph", None), "nodes", None) or []
