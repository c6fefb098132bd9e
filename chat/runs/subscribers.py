"""Readers of runs in this process, and delivery of committed rows to them from memory."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chat import doorbell
from chat.events import Row


class Subscription:
    """One reader's queue of rows of one run, and the event that wakes it."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._wake = asyncio.Event()

    def take(self) -> list[Row]:
        """Return the rows delivered since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def deliver(self, rows: Sequence[Row]) -> None:
        self._rows.extend(rows)
        self._wake.set()

    def nudge(self) -> None:
        self._wake.set()

    async def wait(self, seconds: float) -> None:
        """Return at a delivery or a nudge, or after ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()


_subscriptions: defaultdict[uuid.UUID, set[Subscription]] = defaultdict(set)
_written_here: set[uuid.UUID] = set()


@contextmanager
def subscribe(run_id: uuid.UUID) -> Iterator[Subscription]:
    subscription = Subscription()
    _subscriptions[run_id].add(subscription)
    try:
        yield subscription
    finally:
        _subscriptions[run_id].discard(subscription)
        if not _subscriptions[run_id]:
            del _subscriptions[run_id]


def deliver(run_id: uuid.UUID, rows: Sequence[Row]) -> None:
    """Deliver committed rows to this process's readers of the run."""
    for subscription in _subscriptions.get(run_id, ()):
        subscription.deliver(rows)


def opened_here(run_id: uuid.UUID) -> None:
    """Record that this process writes the run's log. Its readers then do not poll the log."""
    _written_here.add(run_id)
    doorbell.ring_here([str(run_id)])


def closed_here(run_id: uuid.UUID) -> None:
    _written_here.discard(run_id)
    doorbell.ring_here([str(run_id)])  # its readers poll again


def is_written_here(run_id: uuid.UUID) -> bool:
    return run_id in _written_here
