"""The agents of this process and the Runner of each: the built-in one and those in AGENTS_DIR."""

import logging
import threading
from dataclasses import dataclass

from django.conf import settings
from google.adk.apps import App
from google.adk.runners import Runner

from chat.agent.agents import assistant, folder, transport
from chat.agent.agents.folder import FolderAgent
from chat.agent.memory.artifact_service import TemporaryArtifactService
from chat.agent.memory.memory_service import EmptyMemoryService
from chat.agent.memory.session_service import ConversationSessionService
from chat.agent.turn import containment
from chat.agent.turn.exception_details import details_of
from chat.agent.turn.tool_limits import with_tool_limits

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """An agent as members see it. ``reason`` says why it is not available."""

    name: str
    description: str
    available: bool = True
    reason: str | None = None


session_service = ConversationSessionService()
artifact_service = TemporaryArtifactService()
memory_service = EmptyMemoryService()
_built_in: dict[str, Runner] = {}  # by name, because tests change AGENT_NAME
_folder_agents: list[FolderAgent] | None = None  # None: AGENTS_DIR is not loaded yet
_loading = threading.Lock()


def all_agents() -> list[AgentInfo]:
    """Return all agents, the default one first."""
    found = [AgentInfo(settings.AGENT_NAME, settings.AGENT_DESCRIPTION)]
    for agent in _load_folder():
        reason = None if agent.reason is None else str(agent.reason)
        found.append(AgentInfo(agent.name, agent.description, agent.runner is not None, reason))
    return found


def available_names() -> list[str]:
    """Return the names of the agents that a new conversation may have, the default one first."""
    return [settings.AGENT_NAME, *(agent.name for agent in _load_folder() if agent.runner)]


def runner_of(name: str) -> Runner:
    """Return the Runner of this agent, which all its runs in this process share.

    Raises LookupError for an unknown name and for an agent that is not available.
    """
    if name == settings.AGENT_NAME:
        if name not in _built_in:
            _built_in[name] = _runner(name, App(name=name, root_agent=assistant.build()))
        return _built_in[name]
    runner = next((agent.runner for agent in _load_folder() if agent.name == name), None)
    if runner is None:
        raise LookupError(f"There is no agent {name!r}.")
    return runner


def root_name(name: str) -> str:
    """Return ADK's name for the root of this agent, for example ``root_agent``.

    If the agent is not available any more, return ``name``.
    """
    try:
        return runner_of(name).agent.name
    except LookupError:
        return name


def _runner(name: str, app: App) -> Runner:
    return Runner(
        app=with_tool_limits(app, name),
        session_service=session_service,
        artifact_service=artifact_service,
        memory_service=memory_service,
    )


def _load_folder() -> list[FolderAgent]:
    """Return the agents in AGENTS_DIR. Their code runs once in a process: a change needs a restart."""
    global _folder_agents  # noqa: PLW0603 (the cache of this process)
    with _loading:
        if _folder_agents is None:
            _folder_agents = folder.load_agents(settings.AGENTS_DIR, _runner) if settings.AGENTS_DIR else []
        return _folder_agents


async def close() -> None:
    """Close the runners and the connections to Gemini. The next run builds new ones."""
    global _folder_agents  # noqa: PLW0603
    runners = [*_built_in.values(), *(agent.runner for agent in _folder_agents or [] if agent.runner)]
    _built_in.clear()
    _folder_agents = None
    for runner in runners:
        try:
            await containment.begin(containment.contained(runner.close()), containment.AgentScope())
        except Exception as error:  # noqa: BLE001 (an agent's code raised it: close the others too)
            log.warning("An agent could not be closed: %s", details_of(error).kind)
    await transport.close_clients()
