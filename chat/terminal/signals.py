"""Ctrl-C while something goes on, and being told to end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

EXIT_INTERRUPTED = 130  # as a shell says it of a command that Ctrl-C ended


class Leave(Exception):
    """The command ends, with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _leave(number: int, _frame: Any) -> NoReturn:
    raise Leave(128 + number)


def leave_when_told() -> None:
    """SIGTERM, and a terminal that is closed, raise Leave: an orderly end."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)


@contextmanager
def interrupts(first: Callable[[], None]) -> Iterator[None]:
    """Inside, the first Ctrl-C calls ``first``, and a second one raises Leave."""
    count = 0

    def interrupted(number: int, frame: Any) -> None:
        nonlocal count
        count += 1
        if count > 1:
            _leave(number, frame)
        first()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
