"""Open sockets of this process, and the poll for changes whose doorbell ring was lost."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from chat import changes
from chat.database import run_db
from chat.runs.supervisor import supervisor

log = logging.getLogger(__name__)

# Pause between polls, each one query for all members with a socket here. Without Redis, only the poll notices
# changes by other processes, and a tab should show them within a second.
LOST_BELL_SECONDS = 1.0 if settings.REDIS_URL else 0.5


@dataclass(eq=False, slots=True)
class OpenSocket:
    """Open socket of a member."""

    member_id: int
    seen: int  # number of the last change that was sent
    bell: asyncio.Event  # rung after a change
    closing: bool = False  # the process ends


_sockets: defaultdict[int, set[OpenSocket]] = defaultdict(set)  # by the member's primary key


@contextmanager
def registered(socket: OpenSocket) -> Iterator[None]:
    """Include this socket in the poll for lost rings and in the count, inside the block."""
    _sockets[socket.member_id].add(socket)
    try:
        yield
    finally:
        _sockets[socket.member_id].discard(socket)
        if not _sockets[socket.member_id]:
            del _sockets[socket.member_id]


def open_sockets(member_id: int | None = None) -> int:
    """Return the number of open sockets in this process, of one member or all."""
    if member_id is not None:
        return len(_sockets.get(member_id, ()))
    return sum(map(len, _sockets.values()))


def close_sockets() -> None:
    """Close all sockets. Clients reconnect to another process and catch up."""
    for sockets in _sockets.values():
        for socket in sockets:
            socket.closing = True
            socket.bell.set()


async def poll_for_lost_rings() -> None:
    """Wake the sockets that lack a change, for as long as this process serves."""
    while True:
        await asyncio.sleep(LOST_BELL_SECONDS)
        if _sockets:
            try:
                await _poll()
            except (DatabaseError, InterfaceError) as error:
                log.warning("Sockets receive no changes: the database did not answer: %s", error)


async def _poll() -> None:
    last = await run_db(changes.last_of, list(_sockets))
    for member_id, number in last.items():
        for socket in _sockets.get(member_id, ()):
            if socket.seen != number:
                socket.bell.set()


supervisor.add_duty(poll_for_lost_rings, on_drained=close_sockets)
