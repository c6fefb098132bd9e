"""Polling for a condition that another task, thread or process brings about."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


def until(holds: Callable[[], object], within: float = 60, otherwise: Callable[[], str] = str) -> None:
    """Wait until ``holds()`` is true; after ``within`` seconds raise AssertionError with ``otherwise()``."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.02)


async def auntil(holds: Callable[[], Any], within: float = 60) -> Any:
    """Do as ``until`` while the event loop runs; ``holds`` may be async. Return its true value."""
    deadline = time.monotonic() + within
    while True:
        found = holds()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.01)
