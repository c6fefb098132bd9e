"""The doorbell: a notice "there is something new", without data, which may be lost.

A listener in the same process is called directly. Other processes are rung through Redis; without Redis a
listener polls every 100 ms.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from channels.layers import get_channel_layer
from django.conf import settings
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

BELL_GROUP = "bell"
PENDING_REQUESTS = "requests"  # name of the doorbell that rings when a run is assigned, or its stop requested
# Pause after which a listener polls without a ring. With Redis, a ring may be lost; without it, other
# processes do not ring here.
LISTEN_SECONDS = 1.0 if settings.REDIS_URL else 0.1

_listeners: defaultdict[str, set[Callable[[], None]]] = defaultdict(set)
_loop: asyncio.AbstractEventLoop | None = None


@contextmanager
def listen(name: str, on_ring: Callable[[], None]) -> Iterator[None]:
    """Call ``on_ring`` at each ring of ``name`` inside the block, on the event loop. It must not block."""
    _listeners[name].add(on_ring)
    try:
        yield
    finally:
        _listeners[name].discard(on_ring)
        if not _listeners[name]:
            del _listeners[name]


def ring_here(names: Iterable[str]) -> None:
    for name in names:
        for on_ring in _listeners.get(name, ()):
            on_ring()


async def ring(names: Iterable[str]) -> None:
    """Wake the listeners of ``names`` in every process."""
    names = list(names)
    ring_here(names)
    if settings.REDIS_URL and names:
        try:
            await get_channel_layer().group_send(BELL_GROUP, {"type": "bell", "names": names})
        except (OSError, RedisError) as error:  # the other processes poll
            log.warning("The doorbell could not be rung: %s", error)


def set_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    """Set the event loop of this process's listeners; None when it stops serving."""
    global _loop  # noqa: PLW0603  (one loop a process)
    _loop = loop


def ring_soon(names: Iterable[str]) -> None:
    """Ring from any thread, without waiting.

    A process that does not serve, such as a command, has no loop and does not ring: listeners poll.
    """
    if _loop is not None and not _loop.is_closed():
        asyncio.run_coroutine_threadsafe(ring(names), _loop)


async def relay() -> None:
    """Pass on the rings of other processes, for as long as this process serves."""
    if not settings.REDIS_URL:
        return
    while True:
        try:
            await _relay_until_lost()
        except (OSError, RedisError) as error:
            log.warning("The doorbell lost its connection to Redis and retries: %s", error)
            await asyncio.sleep(1)


async def _relay_until_lost() -> None:
    layer: Any = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(BELL_GROUP, channel)
    while True:
        message = await layer.receive(channel)
        ring_here(message.get("names", ()))
