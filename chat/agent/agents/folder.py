"""The agents in AGENTS_DIR, in the layout that ``adk web`` reads. Loaded once, at the start.

An agent is a package with ``root_agent`` or ``app`` in its ``__init__.py`` or ``agent.py``, a
module ``name.py`` with one of them, or a folder with a ``root_agent.yaml``. Whatever goes wrong in
one of them is that agent's own: it is listed as broken, and the log has the traceback.
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
from chat.agent.agents.importing import ROOT, build_from_yaml, import_agent, import_module_of, open_folder
from chat.agent.turn import local_code
from chat.events import clean_text

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
DESCRIPTION_LENGTH = 300
YAML = "root_agent.yaml"
MARKS = ("__init__.py", "agent.py", YAML)  # one of them makes a folder an agent's

Reason = str | Promise
MakeRunner = Callable[[str, App], Runner]


class Broken(Exception):
    """An agent cannot be had. ``reason`` is a sentence for members: it holds no path and no value."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Found:
    """An agent of the folder. ``reason`` says why one has no runner."""

    name: str
    description: str = ""
    runner: Runner | None = None
    reason: Reason | None = None


def load(folder: Path, runner_of: MakeRunner) -> list[Found]:
    """All agents of ``folder`` by name, the broken ones too. Runs their code: for a thread, once.

    ``runner_of`` makes the Runner for a name and an app.
    """
    open_folder(folder)
    places: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if _is_agent(path):
            places.setdefault(path.stem if path.is_file() else path.name, []).append(path)
    return [_load(name, paths, runner_of) for name, paths in sorted(places.items())]


def _is_agent(path: Path) -> bool:
    """Whether it means to be one. What begins with ``_`` or ``.`` is for the agents to share."""
    if path.name.startswith(("_", ".")):
        return False
    if path.is_dir():
        return any((path / mark).exists() for mark in MARKS)
    return path.suffix == ".py"


def _load(name: str, paths: list[Path], runner_of: MakeRunner) -> Found:
    try:
        _check(name, paths)
        return _in_time(name, paths[0], runner_of)
    except Broken as broken:
        log.warning("Agent %r is broken: %s", name, broken, exc_info=broken.__cause__)
        return Found(clean_text(name)[:128], reason=broken.reason)


def _check(name: str, paths: list[Path]) -> None:
    if not NAME.fullmatch(name) or name == "user":
        raise Broken(_("Its name must be of letters, digits and underscores, and not “user”."))
    if name == settings.AGENT_NAME:
        raise Broken(_("The built-in agent has the same name."))
    if len(paths) > 1:
        raise Broken(_("A folder and a module have this name."))


def _in_time(name: str, path: Path, runner_of: MakeRunner) -> Found:
    """Load it on a thread of its own: code that never ends is left behind there. Raises Broken."""
    loaded: list[Found] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            loaded.append(_build(name, path, runner_of))
        except BaseException as error:  # noqa: BLE001 (SystemExit too: it is other people's code)
            raised.append(error)

    thread = threading.Thread(target=work, name=f"agent {name}", daemon=True)
    thread.start()
    thread.join(settings.AGENT_LOAD_SECONDS)
    if raised:
        broken = _explained(raised[0])
        raise broken from None if broken is raised[0] else raised[0]
    if not loaded:
        seconds = f"{settings.AGENT_LOAD_SECONDS:g}"
        raise Broken(format_lazy(_("It did not load within {seconds} s."), seconds=seconds))
    return loaded[0]


def _explained(error: BaseException) -> Broken:
    """The error in a sentence. Its own words may hold paths and secrets: they are for the log."""
    match error:
        case Broken():
            return error
        case local_code.NotAllowed():
            return Broken(error.reason)
        case SystemExit() | KeyboardInterrupt():
            return Broken(_("Its code ends the process instead of loading."))
        case SyntaxError():
            return Broken(_("There is a syntax error in its code."))
        case ModuleNotFoundError(name=str() as missing):
            module = missing.removeprefix(f"{ROOT}.")
            return Broken(format_lazy(_("It needs the module {module}, which is not there."), module=module))
        case YAMLError():
            return Broken(format_lazy(_("Its {file} is no YAML."), file=YAML))
    kind = type(error).__name__
    return Broken(format_lazy(_("Its code does not load ({error})."), error=kind))


def _build(name: str, path: Path, runner_of: MakeRunner) -> Found:
    variables = _environment(name, path)
    account = gemini.own_account() or gemini.account_in(variables)
    found = _exposed(name, path)
    app = found if isinstance(found, App) else App.model_construct(name=name, root_agent=found, plugins=[])
    root = app.root_agent
    assert root is not None  # an App does not validate without one
    description = " ".join(clean_text(root.description or "").split())[:DESCRIPTION_LENGTH]
    local_code.confine(root)
    if not gemini.fit(root, account):
        return Found(name, description, reason=_("It needs a Gemini key."))
    return Found(name, description, runner_of(name, app))


def _environment(name: str, path: Path) -> dict[str, str]:
    """The agent's .env, or else the folder's; what of it others may see is lent to the process."""
    own = path / ".env" if path.is_dir() else path.with_name(".env")
    chosen = own if own.exists() else path.with_name(".env")
    try:
        variables = read_env_file(chosen)
    except (OSError, UnicodeDecodeError) as error:
        raise Broken(_("Its .env cannot be read.")) from error
    left_out = add_to_environment(variables)
    if left_out:
        log.info("Agent %r: its .env does not set %s", name, ", ".join(sorted(left_out)))
    return variables


def _exposed(name: str, path: Path) -> App | BaseNode:
    """The app or root agent, looked for where ADK looks, in its order."""
    if path.is_file() or any((path / mark).exists() for mark in MARKS[:2]):
        package = import_agent(name)
        for module in (package, import_module_of(name, "agent") if path.is_dir() else None):
            found = module and _of_module(module)
            if found:
                return found
    if path.is_dir() and (path / YAML).exists():
        return build_from_yaml(name, path / YAML)
    raise Broken(_("It has neither an app nor a root_agent."))


def _of_module(module: ModuleType) -> App | BaseNode | None:
    app, root = getattr(module, "app", None), getattr(module, "root_agent", None)
    if isinstance(app, App):
        return app
    if root is None or isinstance(root, BaseNode):
        return root
    raise Broken(_("Its root_agent is not an agent."))
