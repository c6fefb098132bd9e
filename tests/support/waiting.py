"""Polling for a condition that another process or thread brings about."""

import time
from collections.abc import Callable


def until(holds: Callable[[], object], within: float = 60, otherwise: Callable[[], str] = str) -> None:
    """Wait until ``holds()`` is true; after ``within`` seconds raise AssertionError with ``otherwise()``."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.02)
