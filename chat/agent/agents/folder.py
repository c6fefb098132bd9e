"""The agents in AGENTS_DIR, in the layout of ``adk web``: they are found, loaded and checked here.

An agent is a package with ``root_agent`` or ``app`` in its ``__init__.py`` or ``agent.py``, a module
``name.py`` with one of them, or a folder with a ``root_agent.yaml``. An agent that fails to load is listed
as not available, and the log has the traceback.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from django.conf import settings
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from google.adk.apps import App
from google.adk.cli.utils.agent_loader import AgentLoader
from google.adk.cli.utils.base_agent_loader import _AgentLoadError
from google.adk.runners import Runner
from google.adk.tools import AgentTool, BaseTool
from google.adk.tools.base_toolset import BaseToolset
from google.adk.workflow import BaseNode, FunctionNode

from chat.agent.agents import gemini
from chat.agent.agents.environment import agent_environment, differing_names, read_env_file
from chat.agent.agents.importing import CodeRaised, TookTooLong, import_in_time, is_taken, use_folder
from chat.agent.agents.model_accounts import bind_accounts
from chat.agent.agents.reasons import YAML_FILE, AgentLoadError, Reason, load_error
from chat.agent.agents.services import SERVICES_FILE
from chat.agent.turn import local_code
from chat.agent.turn.exception_details import ExceptionDetails, details_of
from chat.events import clean_text

log = logging.getLogger(__name__)

AGENT_NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
DESCRIPTION_LENGTH = 300
AGENT_FILES = ("__init__.py", "agent.py", YAML_FILE)  # a folder with one of them is an agent

MakeRunner = Callable[[str, App], Runner]


@dataclass(frozen=True, slots=True)
class FolderAgent:
    """An agent in AGENTS_DIR. ``reason`` says why it has no runner, in a sentence for members.

    ``error`` is the exception behind the reason, with its message and traceback: only for the site's owner.
    ``differing`` names the variables of its ``.env`` that have another value in the environment, or none.
    ``unheard`` names tools inside an AgentTool that would ask a person: the question reaches no one.
    """

    name: str
    description: str = ""
    runner: Runner | None = None
    reason: Reason | None = None
    error: ExceptionDetails | None = None
    differing: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()


def load_agents(folder: Path, make_runner: MakeRunner) -> list[FolderAgent]:
    """Return all agents in ``folder``, sorted by name, also those that fail to load.

    Runs their code, which is imported afresh: call it in a thread, and never twice at the same time.
    ``make_runner`` makes the Runner for a name and an app.
    """
    use_folder(folder)
    loader = AgentLoader(str(folder))
    paths_by_name: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if _is_agent(path):
            paths_by_name.setdefault(path.stem if path.is_file() else path.name, []).append(path)
    return [_load(loader, name, paths, make_runner) for name, paths in sorted(paths_by_name.items())]


def _is_agent(path: Path) -> bool:
    """Return whether to list it: as an agent, or because it is a folder of agents."""
    if path.name.startswith(("_", ".")) or path.name == SERVICES_FILE:  # code that the agents share
        return False
    return _has_agent(path) or bool(_agents_below(path)) if path.is_dir() else path.suffix == ".py"


def _has_agent(path: Path, files: Sequence[str] = AGENT_FILES) -> bool:
    try:
        return any((path / file).is_file() for file in files)
    except OSError:  # a folder that cannot be read
        return False


def _agents_below(path: Path) -> list[str]:
    """Return the names of the agents in a folder that is no agent itself."""
    if _has_agent(path) or not os.access(path, os.R_OK):
        return []
    below = (each for each in path.iterdir() if not each.name.startswith(("_", ".")))
    # A package without an agent module is a library's more often than an agent.
    return sorted(each.name for each in below if _has_agent(each, ("agent.py", YAML_FILE)))


def _load(loader: AgentLoader, name: str, paths: list[Path], make_runner: MakeRunner) -> FolderAgent:
    try:
        _check(name, paths)
        return _build_in_time(loader, name, paths[0].parent, make_runner)
    except AgentLoadError as error:
        details = details_of(error.__cause__) if error.__cause__ else None
        where = f" At {details.place}." if details and details.place else ""
        log.warning("Agent %r is broken: %s%s", name, error, where, exc_info=error.__cause__)
        return FolderAgent(clean_text(name)[:128], reason=error.reason, error=details)


def _check(name: str, paths: list[Path]) -> None:
    """Raise AgentLoadError for a name that cannot be an agent's."""
    if len(paths) > 1:
        raise AgentLoadError(_("A folder and a module have this name."))
    if paths[0].is_dir() and (below := _agents_below(paths[0])):
        sentence = _("It is a folder of agents ({names}). Move them up, or set AGENTS_DIR to it.")
        raise AgentLoadError(format_lazy(sentence, names=clean_text(", ".join(below))))
    if not AGENT_NAME_PATTERN.fullmatch(name) or name == "user":
        raise AgentLoadError(_("Its name must be of letters, digits and underscores, and not “user”."))
    if name == settings.AGENT_NAME:
        raise AgentLoadError(_("The built-in agent has the same name."))
    if is_taken(name, paths[0].parent):
        raise _name_clash(name)


def _name_clash(name: str) -> AgentLoadError:
    sentence = _("Python, Parley or a package has a module {name}: rename the one in AGENTS_DIR.")
    return AgentLoadError(format_lazy(sentence, name=name))


def _imported_instead(error: BaseException, folder: Path, agent: str) -> str | None:
    """Return the name of a file of this agent, or beside it, if its code got another module of that name."""
    missing = error.name if isinstance(error, ImportError) else None
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        missing = error.obj.__name__
    name = (missing or "").partition(".")[0]
    files = [place / f"{name}{suffix}" for place in (folder, folder / agent) for suffix in ("", ".py")]
    return name if name and any(file.exists() for file in files) and is_taken(name, folder) else None


def _build_in_time(loader: AgentLoader, name: str, folder: Path, make_runner: MakeRunner) -> FolderAgent:
    """Build the agent in a thread and return it. Raises AgentLoadError."""
    try:
        variables = read_env_file(folder / name)
    except (OSError, ValueError) as error:
        raise AgentLoadError(_("Its .env cannot be read.")) from error
    try:
        with agent_environment(variables) as in_effect:
            agent, bound = import_in_time(
                lambda: _build(loader, name, in_effect, make_runner), f"agent {name}"
            )
    except TookTooLong as error:
        seconds = f"{settings.AGENT_LOAD_SECONDS:g}"
        raise AgentLoadError(
            format_lazy(_("It did not load within {seconds} s."), seconds=seconds)
        ) from error
    except CodeRaised as raised:
        clash = _imported_instead(raised.error, folder, name)
        broken = _name_clash(clash) if clash else load_error(raised.error)
        raise broken from (broken.__cause__ if broken is raised.error else raised.error)
    return replace(agent, differing=tuple(sorted(differing_names(variables) - bound)))


def _build(
    loader: AgentLoader, name: str, variables: Mapping[str, str], make_runner: MakeRunner
) -> tuple[FolderAgent, set[str]]:
    """Return the agent, and the names of the variables that its models are bound to."""
    found = _import(loader, name)
    # ADK 2.13's Runner wraps a bare agent in the same way, without App's validation.
    app = found if isinstance(found, App) else App.model_construct(name=name, root_agent=found, plugins=[])
    root = app.root_agent
    assert root is not None  # an App does not validate without one
    description = " ".join(clean_text(root.description or "").split())[:DESCRIPTION_LENGTH]
    local_code.confine(root)
    own_account = gemini.own_account()
    bound = bind_accounts(root, variables) | (set() if own_account else gemini.ACCOUNT_VARIABLES)
    # Parley's key goes to no address that an agent names.
    base_url = "" if own_account else variables.get("GOOGLE_GEMINI_BASE_URL", "")
    if not gemini.set_account(root, own_account or gemini.account_from(variables), base_url):
        return FolderAgent(name, description, reason=_("It needs a Gemini key.")), bound
    unheard = tuple(sorted(_unheard_tools(root)))
    if unheard:
        log.warning("Agent %r: inside an AgentTool, no person can be asked by %s", name, ", ".join(unheard))
    return FolderAgent(name, description, make_runner(name, app), unheard=unheard), bound


def _unheard_tools(root: BaseNode) -> set[str]:
    """Return the tools inside the AgentTools of this agent that ask a person, each as "agent: tool".

    An AgentTool runs its agent apart and returns the last text: a call in it that waits is never seen. Tools
    that ask in their own code, and those of a server, are not known before they run.
    """
    return {
        clean_text(f"{agent_tool.name}: {getattr(tool, 'name', None) or type(tool).__name__}")
        for agent_tool in local_code.reachable([root], (AgentTool,))
        for tool in local_code.reachable([agent_tool.agent], (BaseTool, BaseToolset, FunctionNode))
        if getattr(tool, "is_long_running", False)
        or getattr(tool, "_require_confirmation", False)
        or getattr(tool, "require_confirmation", False)
    }


def _import(loader: AgentLoader, name: str) -> App | BaseNode:
    """Return the app or root agent that ADK's loader finds. Raises any exception that its code raises."""
    try:
        return loader.load_agent(name)
    except _AgentLoadError as error:
        wrapped = error
    except ValueError as error:
        if str(error).startswith("A 'root_agent' was found"):
            raise AgentLoadError(_("Its root_agent is not an agent.")) from error
        raise AgentLoadError(_("It has neither an app nor a root_agent.")) from error
    raise wrapped.__cause__ or wrapped  # the ValueError of the agent's code
