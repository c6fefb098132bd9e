"""The agents of this process and the Runner of each: the built-in one and those in AGENTS_DIR."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _
from google.adk.agents import LlmAgent
from google.adk.apps import App
from google.adk.models import BaseLlm
from google.adk.runners import Runner

from chat.agent.agents import assistant, chat_model, folder, importing, transport
from chat.agent.agents.coalesced_models import coalesce
from chat.agent.agents.demo_model import DemoModel
from chat.agent.agents.folder import FolderAgent
from chat.agent.agents.services import forget_services, own_services
from chat.agent.memory.artifact_service import StoredArtifactService
from chat.agent.memory.memory_service import MemberMemoryService
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


class Condition(models.TextChoices):
    """Condition of an agent in AGENTS_DIR."""

    GOOD = "loaded", _("Loaded")
    LAST_GOOD = "last_good", _("Broken; its last good version answers")
    BROKEN = "broken", _("Broken")


session_service = ConversationSessionService()
artifact_service = StoredArtifactService()
memory_service = MemberMemoryService()
_built_in: dict[str, Runner] = {}  # by name, because tests change AGENT_NAME
_folder_agents: tuple[FolderAgent, ...] | None = None  # None: AGENTS_DIR is not loaded yet
_loading = threading.Lock()
_uses: Counter[Runner] = Counter()  # runs of this process that use each Runner
_replaced: set[Runner] = set()  # by a reload: they are closed after their last runs
_closing: "set[asyncio.Task[None]]" = set()
on_close: list[Callable[[Runner], None]] = []  # called before a Runner is closed


def all_agents() -> list[AgentInfo]:
    """Return all agents, the default one first."""
    found = [AgentInfo(settings.AGENT_NAME, settings.AGENT_DESCRIPTION)]
    for agent in folder_agents():
        reason = None if agent.reason is None or agent.runner else str(agent.reason)
        found.append(AgentInfo(agent.name, agent.description, agent.runner is not None, reason))
    return found


def is_demo(name: str) -> bool:
    """Return whether this agent answers by the demo model, because the settings have no account."""
    return name == settings.AGENT_NAME and isinstance(_built_in_model(), DemoModel)


def model_sentence() -> str:
    """Return the sentence for the site's owner that says which model answers for the built-in agent."""
    return chat_model.sentence(_built_in_model())


def _built_in_model() -> BaseLlm:
    agent = runner_of(settings.AGENT_NAME).agent
    assert isinstance(agent, LlmAgent)
    return agent.canonical_model


def available_names() -> list[str]:
    """Return the names of the agents that a new conversation may have, the default one first."""
    return [settings.AGENT_NAME, *(agent.name for agent in folder_agents() if agent.runner)]


def runner_of(name: str) -> Runner:
    """Return the Runner of this agent, which all its runs in this process share.

    Raises LookupError for an unknown name and for an agent that is not available.
    """
    if name == settings.AGENT_NAME:
        if name not in _built_in:
            _built_in[name] = _runner(name, App(name=name, root_agent=assistant.build()))
        return _built_in[name]
    runner = next((agent.runner for agent in folder_agents() if agent.name == name), None)
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
    own = own_services()
    runner = Runner(
        app=with_tool_limits(app, name),
        session_service=session_service,
        artifact_service=own.artifacts or artifact_service,
        memory_service=own.memory or memory_service,
    )
    coalesce(runner.agent)
    return runner


@contextmanager
def in_use(runner: Runner) -> Iterator[None]:
    """Count a run that uses ``runner``: if a reload replaces it, it is closed after its last run."""
    _uses[runner] += 1
    try:
        yield
    finally:
        _uses[runner] -= 1
        if not _uses[runner]:
            del _uses[runner]
            if runner in _replaced:
                _close_soon(runner)


def folder_agents() -> tuple[FolderAgent, ...]:
    """Return the agents in AGENTS_DIR. The first call in a process loads them, and takes as long.

    An agent with a runner and a reason is broken since a reload; its last good version answers.
    """
    global _folder_agents  # noqa: PLW0603 (the cache of this process)
    with _loading:
        if _folder_agents is None:
            _folder_agents = _load(())
        return _folder_agents


def condition_of(agent: FolderAgent) -> Condition:
    if agent.reason is None:
        return Condition.GOOD
    return Condition.LAST_GOOD if agent.runner else Condition.BROKEN


def conditions() -> dict[str, str]:
    """Return the condition of each agent in AGENTS_DIR by its name; none before they are loaded."""
    return {agent.name: condition_of(agent).value for agent in _folder_agents or ()}


async def reload(warm_up: Callable[[], None]) -> None:
    """Load AGENTS_DIR again and call ``warm_up``, in a thread; then replace the agents loaded before.

    Raises OSError if the folder cannot be read: then all agents stay as they are.
    """
    global _folder_agents  # noqa: PLW0603
    before = _folder_agents or ()

    def load() -> tuple[FolderAgent, ...]:
        loaded = _load(before)
        warm_up()
        return loaded

    _folder_agents = after = await asyncio.to_thread(load)
    kept = {agent.runner for agent in after}
    for agent in before:
        if agent.runner and agent.runner not in kept:
            _replaced.add(agent.runner)
            if agent.runner not in _uses:
                _close_soon(agent.runner)


def _load(before: tuple[FolderAgent, ...]) -> tuple[FolderAgent, ...]:
    """Return the agents in AGENTS_DIR. One that is broken keeps its runner of ``before``."""
    place = settings.AGENTS_DIR
    if place is None:
        return ()
    own_services()  # before the agents: their code may import the same modules, which are imported afresh
    dropped = importing.drop_modules(place)
    try:
        found = folder.load_agents(place, _runner)
    except BaseException:
        importing.restore_modules(place, dropped)
        raise
    good = {agent.name: agent for agent in before if agent.runner}
    kept = {agent.name: good[agent.name] for agent in found if not agent.runner and agent.name in good}
    for name in kept:
        importing.restore_modules(place / name, dropped)  # for imports inside its functions
    return tuple(
        replace(agent, runner=kept[agent.name].runner, description=kept[agent.name].description)
        if agent.name in kept
        else agent
        for agent in found
    )


def _open_runners() -> set[Runner]:
    loaded = (agent.runner for agent in _folder_agents or () if agent.runner)
    return {*_built_in.values(), *_replaced, *loaded}


def _close_soon(runner: Runner) -> None:
    _replaced.discard(runner)
    task = asyncio.get_running_loop().create_task(_close(runner))
    _closing.add(task)
    task.add_done_callback(_closing.discard)


async def _close(runner: Runner) -> None:
    for forget in on_close:
        forget(runner)
    try:
        await containment.begin(containment.contained(runner.close()), containment.AgentScope())
        await chat_model.close_models(runner.agent, [each.agent for each in _open_runners() - {runner}])
    except Exception as error:  # noqa: BLE001 (an agent's code raised it: close the others too)
        log.warning("An agent could not be closed: %s", details_of(error).kind)


async def close() -> None:
    """Close the runners and the connections to models. The next run builds new ones."""
    global _folder_agents  # noqa: PLW0603
    runners = _open_runners()
    _built_in.clear()
    _replaced.clear()
    _folder_agents = None
    forget_services()
    for runner in runners:
        await _close(runner)
    await asyncio.gather(*_closing)
    await transport.close_clients()
