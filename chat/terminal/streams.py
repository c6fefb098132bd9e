"""The terminal's stdout and stderr, which what agents print does not reach."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

STDOUT, STDERR = 1, 2


class _HiddenStdout(io.TextIOWrapper):
    """``sys.stdout`` for agents' code. ``input`` edits lines only if its descriptor is STDOUT."""

    def fileno(self) -> int:
        return STDOUT


class OwnStreams:
    """Stdout and stderr of the command. Everything else that this process prints is written to ``sink``."""

    def __init__(self, stdout: IO[str], stderr: IO[str], sink: int) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self._sink = sink

    @contextmanager
    def prompting(self) -> Iterator[None]:
        """Give ``input`` the terminal inside the block: it writes to STDOUT itself, past ``sys.stdout``."""
        os.dup2(self.stdout.fileno(), STDOUT)
        try:
            yield
        finally:
            os.dup2(self._sink, STDOUT)


@contextmanager
def own_streams(*, shows_agents: bool) -> Iterator[OwnStreams]:
    """Keep stdout and stderr for the command, whose process ends after the block.

    What agents and their processes print goes to stderr, as in a server. If stderr is a terminal, what they
    print and write there is dropped, unless ``shows_agents``. That holds until the process has ended, since
    agents' threads print to the last. Only an error gets stderr back, for its message.
    """
    hides = os.isatty(STDERR) and not shows_agents
    taken = [STDOUT, STDERR] if hides else [STDOUT]
    handlers = _handlers_on_stderr() if hides else []
    sys.stdout.flush()
    # a terminal that cannot show a character gets a question mark, not a traceback
    own = [
        os.fdopen(os.dup(number), "w", encoding=file.encoding, errors="replace")
        for number, file in ((STDOUT, sys.stdout), (STDERR, sys.stderr))
    ]
    sink = os.open(os.devnull, os.O_WRONLY) if hides else os.dup(STDERR)
    for number in taken:
        os.dup2(sink, number)
    sys.stdout = _HiddenStdout(io.FileIO(sink, "w", closefd=False), errors="replace", write_through=True)
    for handler in handlers:
        handler.setStream(own[1])
    try:
        yield OwnStreams(own[0], own[1], sink)
    except BaseException:
        for handler in handlers:
            handler.setStream(sys.stderr)
        os.dup2(own[1].fileno(), STDERR)
        raise
    finally:
        with suppress(OSError):  # each write was flushed, and a failed one was reported
            own[0].close()


def _handlers_on_stderr() -> list["logging.StreamHandler[IO[str]]"]:
    return [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
    ]
