"""Which agents there are, and the Runner of each: the built-in one, and those of AGENTS_DIR."""

import logging
import threading
from dataclasses import dataclass

from django.conf import settings
from google.adk.apps import App
from google.adk.runners import Runner

from chat.agent.agents import assistant, folder, transport
from chat.agent.agents.folder import Found
from chat.agent.memory.artifact_service import TemporaryArtifactService
from chat.agent.memory.memory_service import EmptyMemoryService
from chat.agent.memory.session_service import ConversationSessionService
from chat.agent.turn import containment
from chat.agent.turn.exception_details import fault_of
from chat.agent.turn.tool_limits import with_tool_limits

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """An agent as a member sees it. ``reason`` says why one is not available."""

    name: str
    description: str
    available: bool = True
    reason: str | None = None


session_service = ConversationSessionService()
artifact_service = TemporaryArtifactService()
memory_service = EmptyMemoryService()
_built_in: dict[str, Runner] = {}  # by name: a setting, which tests change
_found: list[Found] | None = None  # None: AGENTS_DIR was not yet loaded
_loading = threading.Lock()


def listed() -> list[Listed]:
    """All agents, the default first."""
    return [Listed(settings.AGENT_NAME, settings.AGENT_DESCRIPTION), *map(_listed, _others())]


def _listed(found: Found) -> Listed:
    reason = None if found.reason is None else str(found.reason)
    return Listed(found.name, found.description, found.runner is not None, reason)


def names() -> list[str]:
    """The agents that a new conversation may have, the default first."""
    return [settings.AGENT_NAME, *(found.name for found in _others() if found.runner)]


def runner_of(name: str) -> Runner:
    """The one Runner of this agent in this process. Raises LookupError for an unknown name, and for
    an agent that cannot be had.
    """
    if name == settings.AGENT_NAME:
        if name not in _built_in:
            _built_in[name] = _runner(name, App(name=name, root_agent=assistant.build()))
        return _built_in[name]
    runner = next((found.runner for found in _others() if found.name == name), None)
    if runner is None:
        raise LookupError(f"There is no agent {name!r}.")
    return runner


def root_name(name: str) -> str:
    """Return ADK's name for the root of this agent: ``adk create`` calls it ``root_agent``.

    An agent that is not available any more keeps its own name.
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


def _others() -> list[Found]:
    """The agents of AGENTS_DIR. Their code is run once a process: a change of it takes a restart."""
    global _found  # noqa: PLW0603 (what this process has loaded)
    with _loading:
        if _found is None:
            _found = folder.load_agents(settings.AGENTS_DIR, _runner) if settings.AGENTS_DIR else []
        return _found


async def close() -> None:
    """Give back what the runners hold, their connections to the model too. The next run begins anew."""
    global _found  # noqa: PLW0603
    runners = [*_built_in.values(), *(found.runner for found in _found or [] if found.runner)]
    _built_in.clear()
    _found = None
    for runner in runners:
        try:
            await containment.begin(containment.contained(runner.close()), containment.AgentScope())
        except Exception as error:  # noqa: BLE001 (an agent's own: the others are closed all the same)
            log.warning("An agent could not be closed: %s", fault_of(error).kind)
    await transport.close_clients()
