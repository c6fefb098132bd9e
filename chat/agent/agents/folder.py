"""The agents in AGENTS_DIR, in the layout of ``adk web``: they are found, loaded and checked here.

An agent is a package with ``root_agent`` or ``app`` in its ``__init__.py`` or ``agent.py``, a module
``name.py`` with one of them, or a folder with a ``root_agent.yaml``. An agent that fails to load is listed
as not available, and the log has the traceback.
"""

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from django.conf import settings
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from google.adk.apps import App
from google.adk.runners import Runner
from google.adk.workflow import BaseNode
from yaml import YAMLError

from chat.agent.agents import gemini
from chat.agent.agents.environment import add_to_environment, read_env_file
from chat.agent.agents.importing import (
    IMPORT_ROOT,
    build_from_yaml,
    import_agent,
    import_submodule,
    set_import_folder,
)
from chat.agent.turn import local_code
from chat.events import clean_text

log = logging.getLogger(__name__)

AGENT_NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
DESCRIPTION_LENGTH = 300
YAML_FILE = "root_agent.yaml"
AGENT_FILES = ("__init__.py", "agent.py", YAML_FILE)  # a folder with one of them is an agent

Reason = str | Promise
MakeRunner = Callable[[str, App], Runner]


class AgentLoadError(Exception):
    """An agent cannot be loaded. ``reason`` is a sentence for members, without paths and values."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, slots=True)
class FolderAgent:
    """An agent in AGENTS_DIR. ``reason`` says why it has no runner."""

    name: str
    description: str = ""
    runner: Runner | None = None
    reason: Reason | None = None


def load_agents(folder: Path, make_runner: MakeRunner) -> list[FolderAgent]:
    """Return all agents in ``folder``, sorted by name, also those that fail to load.

    Runs their code: call it once, in a thread. ``make_runner`` makes the Runner for a name and an app.
    """
    set_import_folder(folder)
    paths_by_name: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if _is_agent(path):
            paths_by_name.setdefault(path.stem if path.is_file() else path.name, []).append(path)
    return [_load(name, paths, make_runner) for name, paths in sorted(paths_by_name.items())]


def _is_agent(path: Path) -> bool:
    if path.name.startswith(("_", ".")):  # code that the agents share
        return False
    if path.is_dir():
        return any((path / file).exists() for file in AGENT_FILES)
    return path.suffix == ".py"


def _load(name: str, paths: list[Path], make_runner: MakeRunner) -> FolderAgent:
    try:
        _check(name, paths)
        return _build_in_time(name, paths[0], make_runner)
    except AgentLoadError as error:
        log.warning("Agent %r is broken: %s", name, error, exc_info=error.__cause__)
        return FolderAgent(clean_text(name)[:128], reason=error.reason)


def _check(name: str, paths: list[Path]) -> None:
    if not AGENT_NAME_PATTERN.fullmatch(name) or name == "user":
        raise AgentLoadError(_("Its name must be of letters, digits and underscores, and not “user”."))
    if name == settings.AGENT_NAME:
        raise AgentLoadError(_("The built-in agent has the same name."))
    if len(paths) > 1:
        raise AgentLoadError(_("A folder and a module have this name."))


def _build_in_time(name: str, path: Path, make_runner: MakeRunner) -> FolderAgent:
    """Build the agent in a thread and return it. Raises AgentLoadError."""
    loaded: list[FolderAgent] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            loaded.append(_build(name, path, make_runner))
        except BaseException as error:  # noqa: BLE001 (SystemExit too: an agent's code may raise anything)
            raised.append(error)

    # A thread cannot be killed: code that never ends keeps this one, and the process can still exit.
    thread = threading.Thread(target=work, name=f"agent {name}", daemon=True)
    thread.start()
    thread.join(settings.AGENT_LOAD_SECONDS)
    if raised:
        load_error = _load_error(raised[0])
        raise load_error from None if load_error is raised[0] else raised[0]
    if not loaded:
        seconds = f"{settings.AGENT_LOAD_SECONDS:g}"
        raise AgentLoadError(format_lazy(_("It did not load within {seconds} s."), seconds=seconds))
    return loaded[0]


def _load_error(error: BaseException) -> AgentLoadError:
    """Return the error as a sentence for members, without its message: that may hold paths and secrets."""
    match error:
        case AgentLoadError():
            return error
        case local_code.CodeNotAllowed():
            return AgentLoadError(error.reason)
        case SystemExit() | KeyboardInterrupt():
            return AgentLoadError(_("Its code ends the process instead of loading."))
        case SyntaxError():
            return AgentLoadError(_("There is a syntax error in its code."))
        case ModuleNotFoundError(name=str() as missing):
            sentence = _("It needs the module {module}, which is not there.")
            return AgentLoadError(format_lazy(sentence, module=missing.removeprefix(f"{IMPORT_ROOT}.")))
        case YAMLError():
            return AgentLoadError(format_lazy(_("Its {file} is no YAML."), file=YAML_FILE))
    return AgentLoadError(format_lazy(_("Its code does not load ({error})."), error=type(error).__name__))


def _build(name: str, path: Path, make_runner: MakeRunner) -> FolderAgent:
    variables = _environment(name, path)
    account = gemini.own_account() or gemini.account_from(variables)
    found = _import(name, path)
    # ADK 2.13's Runner wraps a bare agent in the same way, without App's validation.
    app = found if isinstance(found, App) else App.model_construct(name=name, root_agent=found, plugins=[])
    root = app.root_agent
    assert root is not None  # an App does not validate without one
    description = " ".join(clean_text(root.description or "").split())[:DESCRIPTION_LENGTH]
    local_code.confine(root)
    if not gemini.set_account(root, account):
        return FolderAgent(name, description, reason=_("It needs a Gemini key."))
    return FolderAgent(name, description, make_runner(name, app))


def _environment(name: str, path: Path) -> dict[str, str]:
    """Return the variables in the agent's .env, else in the folder's, and add them to the environment."""
    own = path / ".env" if path.is_dir() else path.with_name(".env")
    chosen = own if own.exists() else path.with_name(".env")
    try:
        variables = read_env_file(chosen)
    except (OSError, UnicodeDecodeError) as error:
        raise AgentLoadError(_("Its .env cannot be read.")) from error
    left_out = add_to_environment(variables)
    if left_out:
        log.info("Agent %r: its .env does not set %s", name, ", ".join(sorted(left_out)))
    return variables


def _import(name: str, path: Path) -> App | BaseNode:
    """Return the app or root agent from the first place that has one, in the order of ADK's loader."""
    if path.is_file() or any((path / file).exists() for file in AGENT_FILES[:2]):
        package = import_agent(name)
        for module in (package, import_submodule(name, "agent") if path.is_dir() else None):
            found = module and _agent_in(module)
            if found:
                return found
    if path.is_dir() and (path / YAML_FILE).exists():
        return build_from_yaml(name, path / YAML_FILE)
    raise AgentLoadError(_("It has neither an app nor a root_agent."))


def _agent_in(module: ModuleType) -> App | BaseNode | None:
    app, root = getattr(module, "app", None), getattr(module, "root_agent", None)
    if isinstance(app, App):
        return app
    if root is None or isinstance(root, BaseNode):
        return root
    raise AgentLoadError(_("Its root_agent is not an agent."))
