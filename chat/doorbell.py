"""Ring and listen: "there is something new". It carries no data, and it may be lost.

A listener in the same process is woken directly. Between processes the bell goes over the channel
layer where that is Redis; without Redis whoever waits for another process looks every 100 ms.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from channels.layers import get_channel_layer
from django.conf import settings
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

GROUP = "bell"
# How long a listener sleeps before it looks without having been rung: with Redis only in case a
# bell was lost, without it because nothing else tells of another process.
PATIENCE_SECONDS = 1.0 if settings.REDIS_URL else 0.1

_listeners: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
_loop: asyncio.AbstractEventLoop | None = None


@asynccontextmanager
async def listen(name: str) -> AsyncIterator[asyncio.Event]:
    """An event that is set each time ``name`` is rung, from when this is entered."""
    bell = asyncio.Event()
    _listeners[name].add(bell)
    try:
        yield bell
    finally:
        _listeners[name].discard(bell)
        if not _listeners[name]:
            del _listeners[name]


def ring_here(names: Iterable[str]) -> None:
    for name in names:
        for bell in _listeners.get(name, ()):
            bell.set()


async def ring(names: Iterable[str]) -> None:
    """Wake who listens to ``names``, in every process."""
    names = list(names)
    ring_here(names)
    if settings.REDIS_URL and names:
        try:
            await get_channel_layer().group_send(GROUP, {"type": "bell", "names": names})
        except (OSError, RedisError) as error:  # Redis is away: the others look by themselves
            log.warning("The doorbell could not be rung: %s", error)


def ring_in(loop: asyncio.AbstractEventLoop | None) -> None:
    """The loop in which this process's listeners wait; None once it serves no more."""
    global _loop  # noqa: PLW0603  (one loop a process)
    _loop = loop


def ring_soon(names: Iterable[str]) -> None:
    """As ``ring``, from any thread; does not wait. A process that does not serve rings for nobody:
    the others look by themselves.
    """
    if _loop is not None and not _loop.is_closed():
        asyncio.run_coroutine_threadsafe(ring(names), _loop)


async def relay() -> None:
    """Pass on the bells of other processes, for as long as this process serves."""
    if not settings.REDIS_URL:
        return
    while True:
        try:
            await _relay_until_lost()
        except (OSError, RedisError) as error:
            log.warning("The doorbell lost Redis and tries again: %s", error)
            await asyncio.sleep(1)


async def _relay_until_lost() -> None:
    layer: Any = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(GROUP, channel)
    while True:
        message = await layer.receive(channel)
        ring_here(message.get("names", ()))
