"""How the code in AGENTS_DIR is imported: under names of its own, which nothing else can meet.

An agent ``chat`` becomes the module ``parley_agents.chat``, so ``import chat`` stays Parley's, and
``sys.path`` stays as it is. Inside the folder's code, and only there, its own name leads to itself:
``from chat import tools`` means the agent's tools, as it does under ``adk web``.
"""

import builtins
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from google.adk.agents import config_agent_utils
from google.adk.workflow import BaseNode

ROOT = "parley_agents"
# These cannot be an agent's own: its code could not say what it is made of.
NEVER_OWN = sys.stdlib_module_names | {"google"}


def open_folder(folder: Path) -> None:
    """Let agents be imported from ``folder``. What was imported before is forgotten."""
    for name in [name for name in sys.modules if name.partition(".")[0] == ROOT]:
        del sys.modules[name]
    root = ModuleType(ROOT)
    root.__path__ = [str(folder)]
    sys.modules[ROOT] = root
    PathFinder.invalidate_caches()
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def import_agent(name: str) -> ModuleType:
    """The package or module of this agent. Raises whatever its code raises."""
    return importlib.import_module(f"{ROOT}.{name}")


def import_module_of(name: str, module: str) -> ModuleType | None:
    """A module of this agent's package, None where the package has no such file."""
    wanted = f"{ROOT}.{name}.{module}"
    try:
        return importlib.import_module(wanted)
    except ModuleNotFoundError as error:
        if error.name != wanted:
            raise
        return None


def build_from_yaml(name: str, path: Path) -> BaseNode:
    """The agent that a ``root_agent.yaml`` describes; its references to code by the agent's own name
    lead to the agent's code.
    """
    with _in_agent(name):
        return config_agent_utils.from_config(str(path))


# --- own names ------------------------------------------------------------------------------------


def _own(name: str, agent: str) -> str | None:
    """``name`` under ROOT, where it is of this agent's own package."""
    top = name.partition(".")[0]
    return f"{ROOT}.{name}" if top == agent and top not in NEVER_OWN else None


def _scoped_builtins(agent: str) -> dict[str, Any]:
    """What the agent's modules have as ``__builtins__``: an import statement looks up ``__import__``
    there, also one that runs much later, inside a function, on any thread.
    """

    def scoped_import(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        own = None if level else _own(name, agent)
        if own is None:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(own, globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[f"{ROOT}.{agent}"]

    def scoped_print(*values: object, **options: Any) -> None:
        """To stderr: stdout is the server's own, and the chat's in a terminal."""
        print(*values, **{**options, "file": options.get("file") or sys.stderr})  # noqa: T201 (the agent's)

    return {**vars(builtins), "__import__": scoped_import, "print": scoped_print}


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        agent = module.__name__.split(".")[1]
        module.__dict__["__builtins__"] = _scoped_builtins(agent)
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Answers for names below ROOT, and for no other."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{ROOT}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


# --- YAML -----------------------------------------------------------------------------------------

_agent: ContextVar[str | None] = ContextVar("agent", default=None)  # whose YAML this thread reads


@contextmanager
def _in_agent(name: str) -> Iterator[None]:
    token = _agent.set(name)
    try:
        yield
    finally:
        _agent.reset(token)


def _import_for_yaml(name: str, package: str | None = None) -> ModuleType:
    agent = _agent.get()
    return importlib.import_module((agent and _own(name, agent)) or name, package)


# ADK's reader of YAML imports by absolute name, and has no hook for it.
config_agent_utils.importlib = SimpleNamespace(import_module=_import_for_yaml)  # type: ignore[assignment]
