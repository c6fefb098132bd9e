"""The readers of runs in this process, and the rows that reach them from memory."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chat.events import Row


class Seat:
    """One reader's place at one run."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._bell = asyncio.Event()

    def take(self) -> list[Row]:
        """What was delivered since the last take."""
        rows, self._rows = self._rows, []
        return rows

    def deliver(self, rows: Sequence[Row]) -> None:
        self._rows.extend(rows)
        self._bell.set()

    def nudge(self) -> None:
        self._bell.set()

    async def wait(self, seconds: float) -> bool:
        """Whether something was delivered, or the bell rang, within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return False
        self._bell.clear()
        return True


_seats: defaultdict[uuid.UUID, set[Seat]] = defaultdict(set)
_written_here: set[uuid.UUID] = set()


@contextmanager
def seat_at(run_id: uuid.UUID) -> Iterator[Seat]:
    seat = Seat()
    _seats[run_id].add(seat)
    try:
        yield seat
    finally:
        _seats[run_id].discard(seat)
        if not _seats[run_id]:
            del _seats[run_id]


def deliver(run_id: uuid.UUID, rows: Sequence[Row]) -> None:
    """Hand committed rows to this process's readers of the run."""
    for seat in _seats.get(run_id, ()):
        seat.deliver(rows)


def nudge(run_id: uuid.UUID) -> None:
    """Let this process's readers of the run look at the log."""
    for seat in _seats.get(run_id, ()):
        seat.nudge()


def opened_here(run_id: uuid.UUID) -> None:
    """This process writes the run now: its readers need not look for rows of others."""
    _written_here.add(run_id)
    nudge(run_id)


def closed_here(run_id: uuid.UUID) -> None:
    _written_here.discard(run_id)
    nudge(run_id)


def is_written_here(run_id: uuid.UUID) -> bool:
    return run_id in _written_here
