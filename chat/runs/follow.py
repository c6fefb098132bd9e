"""Readers of runs: the one function by which each reads, and delivery of committed rows from memory."""

import asyncio
import random
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from django.conf import settings

from chat import doorbell
from chat.database import run_db
from chat.events import TERMINAL, Row
from chat.log import last_seq, read_log
from chat.sign_ins import SignIn


class _Subscription:
    """One reader's queue of rows of one run. It waits on a future, which is smaller than an Event (1 KiB)."""

    __slots__ = ("_is_rung", "_rows", "_waiter")

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._is_rung = False
        self._waiter: asyncio.Future[None] | None = None

    def take(self) -> list[Row]:
        """Return the rows delivered since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def deliver(self, rows: Sequence[Row]) -> None:
        self._rows.extend(rows)
        self.nudge()

    def nudge(self) -> None:
        self._is_rung = True
        if self._waiter:
            _finish(self._waiter)

    async def wait(self, seconds: float) -> None:
        """Return at a delivery or a nudge, or after ``seconds``."""
        if not self._is_rung:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(seconds, _finish, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        self._is_rung = False


def _finish(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


_subscriptions: defaultdict[uuid.UUID, set[_Subscription]] = defaultdict(set)
_written_here: dict[uuid.UUID, int] = {}  # the seq of the newest row that was delivered, by run


@contextmanager
def _subscribe(run_id: uuid.UUID) -> Iterator[_Subscription]:
    subscription = _Subscription()
    _subscriptions[run_id].add(subscription)
    try:
        yield subscription
    finally:
        _subscriptions[run_id].discard(subscription)
        if not _subscriptions[run_id]:
            del _subscriptions[run_id]


def deliver(run_id: uuid.UUID, rows: Sequence[Row]) -> None:
    """Deliver committed rows to this process's readers of the run."""
    if rows and run_id in _written_here:
        _written_here[run_id] = rows[-1].seq
    for subscription in _subscriptions.get(run_id, ()):
        subscription.deliver(rows)


def opened_here(run_id: uuid.UUID, seq: int) -> None:
    """Record that this process writes the run's log, which ends at ``seq``. Its readers then do not poll."""
    _written_here[run_id] = seq
    doorbell.ring_here([str(run_id)])


def closed_here(run_id: uuid.UUID) -> None:
    _written_here.pop(run_id, None)
    doorbell.ring_here([str(run_id)])  # its readers poll again


async def follow(
    run_id: uuid.UUID,
    after: int,
    *,
    idle: float,
    begun: Row | None = None,
    sign_in: SignIn | None = None,
) -> AsyncGenerator[list[Row], None]:
    """Yield the events of a run after seq ``after``, in order and without a gap, to the terminal event.

    Yield them in batches, and an empty batch after at most ``idle`` seconds of silence. ``begun`` is the
    first row of a run that began just now: the log is not read if it has no other. Precondition: the terminal
    event is stored or will be. For a run whose log was pruned, see chat/stream/resume.py.

    Ends early when the reader's ``sign_in`` ends.
    """
    clock = asyncio.get_running_loop().time
    last_yield, silence = clock(), _some_of(idle)
    with (
        _subscribe(run_id) as subscription,
        doorbell.listen(str(run_id), subscription.nudge),
        sign_in.watched(subscription.nudge) if sign_in else nullcontext(),
    ):
        is_known = begun is not None and _written_here.get(run_id) == begun.seq
        rows = [begun] if begun and is_known else await run_db(read_log, run_id, after)
        while not (sign_in and sign_in.has_ended):
            rows = [row for row in rows if row.seq > after]
            if rows and rows[0].seq != after + 1:  # a gap: read the missed batch from the log
                rows = await run_db(read_log, run_id, after)
            if rows:
                after, last_yield, silence = rows[-1].seq, clock(), _some_of(idle)
                yield rows
                if rows[-1].type in TERMINAL:
                    return
            rows = subscription.take()
            if rows:
                continue
            poll = idle if run_id in _written_here else doorbell.LISTEN_SECONDS
            await subscription.wait(max(0.001, min(poll, last_yield + silence - clock())))
            rows = subscription.take()
            if not rows and run_id not in _written_here:
                rows = await run_db(read_log, run_id, after)
            if not rows and clock() - last_yield >= silence:
                last_yield, silence = clock(), _some_of(idle)
                yield []


def _some_of(idle: float) -> float:
    # Readers that open together, or receive the same event, would else all wake at the same moments: 2,000
    # of them kept other requests waiting for 2 s.
    return idle * random.uniform(0.75, 1)  # noqa: S311  (not a secret)


async def wait_for_end(run_id: uuid.UUID, sign_in: SignIn | None = None) -> None:
    """Return when the run has ended. Its terminal event must be stored or still to come.

    Returns early when ``sign_in`` ends.
    """
    # From the newest event on, which may be the terminal one: the run can end before it is followed.
    after = await run_db(last_seq, run_id) - 1
    async for _batch in follow(run_id, after, idle=settings.RUN_SECONDS, sign_in=sign_in):
        pass
