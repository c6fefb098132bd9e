"""Gemini: on whose account, and by the one way to it, whoever's agent asks."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from google.adk.agents import LlmAgent
from google.adk.models import Gemini
from google.adk.tools import AgentTool
from google.adk.workflow import BaseNode
from google.genai import types

from chat.agent.agents import transport

# Before the first token alone: the client never repeats a request whose answer has begun.
RETRIES = types.HttpRetryOptions(attempts=3, initial_delay=0.5, max_delay=4)
TRUE = {"1", "true", "yes", "on"}

Account = dict[str, Any]  # what google-genai's Client takes of it


def own_account() -> Account | None:
    """Parley's own account by its settings, None where there is none."""
    if settings.USE_VERTEX:
        return {"enterprise": True}
    return {"api_key": settings.GOOGLE_API_KEY} if settings.GOOGLE_API_KEY else None


def account_in(variables: Mapping[str, str]) -> Account | None:
    """The account that variables of google-genai's names tell of, None where they tell of none."""
    names = ("GOOGLE_GENAI_USE_ENTERPRISE", "GOOGLE_GENAI_USE_VERTEXAI")
    if any(variables.get(name, "").strip().lower() in TRUE for name in names):
        project, location = variables.get("GOOGLE_CLOUD_PROJECT"), variables.get("GOOGLE_CLOUD_LOCATION")
        return {"enterprise": True, "project": project or None, "location": location or None}
    key = variables.get("GOOGLE_API_KEY") or variables.get("GEMINI_API_KEY")
    return {"api_key": key} if key else None


def client_options(account: Account) -> dict[str, Any]:
    """What a Gemini model hands to its client: the account, and our transport."""
    # One named transport: google-genai takes aiohttp where some other package brings it, which
    # counts the whole stream against its time-out.
    return {"http_options": types.HttpOptions(httpx_async_client=transport.client()), **account}


def model(name: str, account: Account) -> Gemini:
    return Gemini(model=name, retry_options=RETRIES, client_kwargs=client_options(account))


def fit(root: BaseNode, account: Account | None) -> bool:
    """Lead the Gemini models of other people's agents to ``account`` through our transport: those
    that are named by a string, and those that bring no client options of their own. Any other
    model stays as it is.

    Returns False where there is no account and a model needs one. Raises ValueError for a name
    that stands for no model here.
    """
    options: dict[str, Any] = {}  # one transport for all of them
    for agent in llm_agents(root):
        found = agent.canonical_model  # its own, or that of an agent above it, which is fitted already
        if not isinstance(found, Gemini) or found.client_kwargs or found.client or found.base_url:
            continue
        if account is None:
            return False
        options = options or client_options(account)
        retries = found.retry_options or RETRIES
        agent.model = found.model_copy(update={"retry_options": retries, "client_kwargs": options})
    return True


def llm_agents(root: BaseNode) -> Iterator[LlmAgent]:
    """The agents with a model below ``root``, parents first: as sub-agents, as tools of another
    agent, and as nodes of a workflow; each one once.
    """
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop(0)
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, LlmAgent):
            yield node
            waiting += [tool.agent for tool in node.tools if isinstance(tool, AgentTool)]
        waiting += getattr(node, "sub_agents", None) or []
        waiting += getattr(getattr(node, "graph", None), "nodes", None) or []
