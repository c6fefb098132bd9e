"""Chunks of a model's answer that arrive close together become one before ADK sees them.

google-genai and ADK cost about 0.6 ms of CPU for each chunk, whatever its length. With many runs, chunks wait
a little for the next ones, and the cost of all of them is that of one.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Generic, TypeVar

from django.conf import settings

from chat.instruments import metrics

T = TypeVar("T")

RUNS_WITHOUT_WINDOW = 8
SECONDS_PER_RUN = 0.0025  # 40 runs above that have the longest window
ON_TIME = 0.005  # seconds by which the event loop may be late


def window() -> float:
    """Return for how many seconds chunks of one model call gather: 0 to COALESCE_SECONDS."""
    runs = max(0, metrics.active_runs.now() - RUNS_WITHOUT_WINDOW)
    late = max(0.0, metrics.loop_late_milliseconds.now() / 1000 - ON_TIME)
    return min(settings.COALESCE_SECONDS, runs * SECONDS_PER_RUN + late)


metrics.coalescing_milliseconds.read = lambda: round(window() * 1000)


async def pause(since: float) -> None:
    """Wait until the window that began at ``since`` (time.monotonic()) has passed."""
    if (left := since + window() - time.monotonic()) > 0:
        await asyncio.sleep(left)


class Gatherer(Generic[T]):
    """Reads ``source`` in a task of its own, so that all items that have arrived can be taken at once.

    ``source`` may wait for ``emptied`` before it reads on; else it is read as fast as it yields.
    """

    def __init__(self, source: AsyncGenerator[T, None]) -> None:
        self._source = source
        self._items: list[T] = []
        self._changed = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._task = asyncio.get_running_loop().create_task(self._read())
        self._task.add_done_callback(lambda _task: self._changed.set())

    async def take(self) -> list[T]:
        """Return the items since the last call, at least one; none after the last.

        Raises the exception of ``source`` after all of its items.
        """
        await self._changed.wait()
        items, self._items = self._items, []
        if not self._task.done():
            self._changed.clear()
        self._empty.set()
        if not items:
            await self._task
        return items

    async def emptied(self) -> None:
        """Wait until all items are taken."""
        await self._empty.wait()

    async def close(self) -> None:
        """End the task and close ``source``."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        # A task that ended before its first step has not closed it.
        await self._source.aclose()
        with suppress(asyncio.CancelledError):
            self._task.exception()  # seen, also if nobody took it

    async def _read(self) -> None:
        async for item in self._source:
            self._items.append(item)
            self._empty.clear()
            self._changed.set()
