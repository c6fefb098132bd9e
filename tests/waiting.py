"""For what another process does: it comes, but not yet."""

import time
from collections.abc import Callable


def until(holds: Callable[[], object], within: float = 60, otherwise: Callable[[], str] = str) -> None:
    """Wait until it holds. Raises AssertionError with ``otherwise()`` after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.02)
