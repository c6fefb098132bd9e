"""Signal handlers of the command: Ctrl-C during an answer, SIGTERM and SIGHUP."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


class ExitRequested(Exception):
    """A signal asked the command to end with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _request_exit(number: int, _frame: Any) -> NoReturn:
    raise ExitRequested(128 + number)


def exit_on_signals() -> None:
    """Raise ExitRequested on SIGTERM and SIGHUP (a closed terminal), for an orderly end."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _request_exit)


@contextmanager
def handle_ctrl_c(first: Callable[[], None]) -> Iterator[None]:
    """Call ``first`` on the first Ctrl-C inside the block, and raise ExitRequested on the next one."""
    count = 0

    def handle(number: int, frame: Any) -> None:
        nonlocal count
        count += 1
        if count > 1:
            _request_exit(number, frame)
        first()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
