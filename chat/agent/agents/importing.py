"""The import path for AGENTS_DIR: its code has plain module names, as under ``adk web``."""

import asyncio
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from django.conf import settings

from chat.instruments.stack import Owner, owner_of

# Their modules are never an agent's, also if AGENTS_DIR contains Parley.
NOT_AGENTS = sys.stdlib_module_names | {name.partition(".")[0] for name in sys.modules}

NEST_ASYNCIO = ("nest_asyncio", "nest_asyncio2")

T = TypeVar("T")

_folder: Path | None = None  # on sys.path


class TookTooLong(Exception):
    """Code in AGENTS_DIR did not load within AGENT_LOAD_SECONDS."""


class CodeRaised(Exception):
    """Code in AGENTS_DIR raised ``error`` while it was loaded, which may be a SystemExit."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error = error


def use_folder(folder: Path) -> None:
    """Import modules from ``folder`` too, and import them afresh.

    It is the last entry of ``sys.path``, where ``adk web`` makes it the first: no file in it replaces a
    module of Parley or of a package.
    """
    global _folder  # noqa: PLW0603 (sys.path is the process's own)
    if _folder is not None:
        drop_modules(_folder)
        with suppress(ValueError):  # an agent's code may have removed it
            sys.path.remove(str(_folder))
    sys.path.append(str(folder))
    _folder = folder
    importlib.invalidate_caches()
    _disarm_nest_asyncio()


def _disarm_nest_asyncio() -> None:
    """Replace ``nest_asyncio.apply``, if it is installed, by a function that does nothing.

    It lets code run the running event loop again. Parley's loop serves all members, and would hang.
    """
    for name in NEST_ASYNCIO:
        with suppress(ModuleNotFoundError):
            vars(importlib.import_module(name))["apply"] = lambda loop=None: None


def import_in_time(work: Callable[[], T], name: str) -> T:
    """Call ``work``, which imports code in AGENTS_DIR, in a thread of this name, and return its result.

    Raises TookTooLong, and CodeRaised for any exception of ``work``.
    """
    results: list[T] = []
    raised: list[BaseException] = []

    def call() -> None:
        # adk web loads in the thread of its event loop. Code at the top of a module may ask for one.
        with closing(asyncio.new_event_loop()) as loop:
            asyncio.set_event_loop(loop)
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001 (an agent's code may raise anything)
                raised.append(error)

    # A thread cannot be killed: code that never ends keeps this one, and the process can still exit.
    thread = threading.Thread(target=call, name=name, daemon=True)
    thread.start()
    thread.join(settings.AGENT_LOAD_SECONDS)
    if raised:
        raise CodeRaised(raised[0])
    if not results:
        raise TookTooLong
    return results[0]


def drop_modules(folder: Path) -> dict[str, ModuleType]:
    """Remove the modules of the code in ``folder`` from ``sys.modules`` and return them."""
    own = _modules_in(folder, sys.modules.copy())
    for name in own:
        del sys.modules[name]
    return own


def restore_modules(place: Path, dropped: Mapping[str, ModuleType]) -> None:
    """Put the ``dropped`` modules of a folder, package or module back, in place of those imported since."""
    drop_modules(place)
    sys.modules.update(_modules_in(place, dropped))


def is_taken(name: str, folder: Path) -> bool:
    """Return whether ``import name`` imports a module that is not in ``folder``."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # an imported module without a spec, such as __main__
        return True
    if spec is None:
        return False
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else ())]
    return not _is_in(places, folder)


def _modules_in(place: Path, modules: Mapping[str, ModuleType]) -> dict[str, ModuleType]:
    agents = {name: each for name, each in modules.items() if name.partition(".")[0] not in NOT_AGENTS}
    return {name: module for name, module in agents.items() if _is_in(_files_of(module), place)}


def _files_of(module: ModuleType) -> list[str]:
    """Return the file of a module, or the folders of a package without ``__init__.py``."""
    fields = getattr(module, "__dict__", {})  # not the attributes: a lazy module may import for them
    file = fields.get("__file__")
    return [file] if file else list(fields.get("__path__") or ())


def _is_in(files: Iterable[str], place: Path) -> bool:
    return any(owner_of(file, place) is Owner.AGENT or file == f"{place}.py" for file in files)
