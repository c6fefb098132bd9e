"""Owners of the code in stack frames: an agent, ADK, Parley or another library."""

import os
import sysconfig
import traceback
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from pathlib import Path

from django.conf import settings

PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
STDLIB = sysconfig.get_path("stdlib")


class Owner(Enum):
    """Owner of the code of a file."""

    AGENT = "agent"  # code in AGENTS_DIR
    ADK = "adk"  # google-adk and google-genai
    PARLEY = "parley"
    LIBRARY = "library"  # everything else, Python itself included


def owner_of(filename: str, agents_dir: Path | None = None) -> Owner:
    """Return the owner of a file's code, by default for the agents in AGENTS_DIR.

    Packages installed below that folder are libraries, and Parley below it is Parley.
    """
    return _owner_of(filename, agents_dir or settings.AGENTS_DIR)


@lru_cache(maxsize=4096)
def _owner_of(filename: str, agents_dir: Path | None) -> Owner:
    own, (package, installed) = _below(filename, agents_dir), _in_packages(filename)
    parley = _below(filename, settings.BASE_DIR)
    if own and not _in_packages(own)[0] and not (parley and len(parley) < len(own)):
        return Owner.AGENT
    if package:
        return Owner.ADK if installed.startswith(f"google{os.sep}") else Owner.LIBRARY
    if filename.startswith(STDLIB):
        return Owner.LIBRARY
    return Owner.PARLEY if parley else Owner.LIBRARY


def short_path(filename: str) -> str:
    """Return the path below AGENTS_DIR, the installed packages or Parley's own folder."""
    return (
        _below(filename, settings.AGENTS_DIR)
        or _in_packages(filename)[1]
        or _below(filename, settings.BASE_DIR)
        or filename
    )


def agent_of(filename: str) -> str:
    """Return ``greeter`` for ``greeter/agent.py`` in AGENTS_DIR. Empty for code of no agent."""
    if owner_of(filename) is not Owner.AGENT:
        return ""
    return short_path(filename).split(os.sep, maxsplit=1)[0].removesuffix(".py")


def owners_in(error: BaseException) -> Iterator[tuple[Owner, str]]:
    """Yield the owner and the place of each frame of its traceback, the innermost first."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        code = frame.f_code
        yield owner_of(code.co_filename), f"{short_path(code.co_filename)}:{line} in {code.co_name}"


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error``, its causes and contexts, and the members of groups, each one once."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        found = pending.pop(0)
        if id(found) not in seen:
            seen.add(id(found))
            yield found
            before = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
            pending += [*getattr(found, "exceptions", ()), *([before] if before else [])]


def may_quote_people(error: BaseException) -> bool:
    """Return whether its message may quote a member: it, or its cause, passed an agent's code or ADK."""
    passed = {owner for found in chain_of(error) for owner, _place in owners_in(found)}
    return bool(passed & {Owner.AGENT, Owner.ADK})


def _below(filename: str, folder: Path | None) -> str:
    prefix = f"{folder}{os.sep}"
    return filename[len(prefix) :] if folder and filename.startswith(prefix) else ""


def _in_packages(filename: str) -> tuple[bool, str]:
    """Return whether the file belongs to an installed package, and its path below the packages."""
    for folder in PACKAGES:
        _head, found, tail = f"{os.sep}{filename}".rpartition(folder)
        if found:
            return True, tail
    return False, ""
