"""The sockets of this process, and the look for bells that were lost."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from chat import changes
from chat.database import run_db
from chat.runs import duties

log = logging.getLogger(__name__)

# One query for all members who have a socket here. Without Redis nothing else tells of what another
# process changed, and a tab should follow within a second.
LOOK_SECONDS = 1.0 if settings.REDIS_URL else 0.5


@dataclass(eq=False, slots=True)
class Watcher:
    """One open socket: whose it is, and what it was told of."""

    member: Any
    seen: int  # the number of the last change that it was told of
    bell: asyncio.Event
    closing: bool = False  # the process ends


_watchers: defaultdict[Any, set[Watcher]] = defaultdict(set)


@contextmanager
def watch(watcher: Watcher) -> Iterator[None]:
    _watchers[watcher.member].add(watcher)
    try:
        yield
    finally:
        _watchers[watcher.member].discard(watcher)
        if not _watchers[watcher.member]:
            del _watchers[watcher.member]


def open_sockets(member: Any = None) -> int:
    """How many sockets are open in this process: the member's, or all."""
    if member is not None:
        return len(_watchers.get(member, ()))
    return sum(map(len, _watchers.values()))


def close_all() -> None:
    """Let every socket of this process close; what it was not told, its tab hears elsewhere."""
    for watchers in _watchers.values():
        for watcher in watchers:
            watcher.closing = True
            watcher.bell.set()


async def look_for_lost_bells() -> None:
    """Wake whoever was not told of a change, for as long as this process serves."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if _watchers:
            try:
                await _look()
            except (DatabaseError, InterfaceError) as error:
                log.warning("Sockets are told nothing: the database did not answer: %s", error)


async def _look() -> None:
    last = await run_db(changes.last_of, list(_watchers))
    for member, number in last.items():
        for watcher in _watchers.get(member, ()):
            if watcher.seen != number:
                watcher.bell.set()


duties.register(look_for_lost_bells, on_drained=close_all)
