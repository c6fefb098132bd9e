"""The import of the code in AGENTS_DIR, under module names that collide with no others.

An agent ``chat`` becomes the module ``parley_agents.chat``: ``import chat`` stays Parley's, and
``sys.path`` stays as it is. Only inside the agent's own code does its short name mean itself:
``from chat import tools`` imports the agent's tools there, as under ``adk web``.
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

IMPORT_ROOT = "parley_agents"
# Inside an agent with one of these names, an import still gives the real module, which its code needs.
NEVER_REDIRECTED = sys.stdlib_module_names | {"google"}


def set_import_folder(folder: Path) -> None:
    """Import agents from ``folder`` from now on. Modules imported earlier are dropped."""
    for name in [name for name in sys.modules if name.partition(".")[0] == IMPORT_ROOT]:
        del sys.modules[name]
    root = ModuleType(IMPORT_ROOT)
    root.__path__ = [str(folder)]
    sys.modules[IMPORT_ROOT] = root
    PathFinder.invalidate_caches()
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def import_agent(name: str) -> ModuleType:
    """Return the package or module of this agent. Raises any exception that its code raises."""
    return importlib.import_module(f"{IMPORT_ROOT}.{name}")


def import_submodule(name: str, module: str) -> ModuleType | None:
    """Return a module of this agent's package, or None if the package has no such file."""
    full_name = f"{IMPORT_ROOT}.{name}.{module}"
    try:
        return importlib.import_module(full_name)
    except ModuleNotFoundError as error:
        if error.name != full_name:  # a module that the agent's code imports
            raise
        return None


def build_from_yaml(name: str, path: Path) -> BaseNode:
    """Return the agent that a ``root_agent.yaml`` describes.

    References in it that begin with the agent's name mean the agent's code.
    """
    with _reading_yaml_of(name):
        return config_agent_utils.from_config(str(path))


# --- own names ------------------------------------------------------------------------------------


def _qualified(name: str, agent: str) -> str | None:
    """Return ``name`` below IMPORT_ROOT if it belongs to this agent's package, else None."""
    top = name.partition(".")[0]
    return f"{IMPORT_ROOT}.{name}" if top == agent and top not in NEVER_REDIRECTED else None


def _scoped_builtins(agent: str) -> dict[str, Any]:
    """Return the ``__builtins__`` of the agent's modules.

    Python looks up ``__import__`` there for each import statement of the module, also for one that runs
    later, in a function on any thread.
    """

    def scoped_import(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        own = None if level else _qualified(name, agent)
        if own is None:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(own, globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[f"{IMPORT_ROOT}.{agent}"]

    def scoped_print(*values: object, **options: Any) -> None:
        # To stderr: stdout belongs to the server, and in a terminal to the chat.
        print(*values, **{**options, "file": options.get("file") or sys.stderr})  # noqa: T201 (the agent's)

    return {**vars(builtins), "__import__": scoped_import, "print": scoped_print}


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        agent = module.__name__.split(".")[1]
        module.__dict__["__builtins__"] = _scoped_builtins(agent)
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """A finder for module names below IMPORT_ROOT only."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{IMPORT_ROOT}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


# --- YAML -----------------------------------------------------------------------------------------

_yaml_agent: ContextVar[str | None] = ContextVar("agent", default=None)  # whose YAML this thread reads


@contextmanager
def _reading_yaml_of(name: str) -> Iterator[None]:
    token = _yaml_agent.set(name)
    try:
        yield
    finally:
        _yaml_agent.reset(token)


def _import_for_yaml(name: str, package: str | None = None) -> ModuleType:
    agent = _yaml_agent.get()
    return importlib.import_module((agent and _qualified(name, agent)) or name, package)


# ADK 2.13 imports the references in YAML by absolute name and has no hook for it.
config_agent_utils.importlib = SimpleNamespace(import_module=_import_for_yaml)  # type: ignore[assignment]
