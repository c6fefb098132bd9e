"""The journal: one task of a process that commits the events of its executed runs, then delivers them.

Events gather for at most JOURNAL_SECONDS; then one transaction stores those of all runs. Only thoughts, and
text after a run's first, wait that long. All other events, ADK's included, are committed immediately.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from chat import doorbell, events
from chat.database import run_db_patiently
from chat.events import Event, Row
from chat.instruments import metrics
from chat.lifecycle import Claim
from chat.models import Run
from chat.runs import follow

log = logging.getLogger(__name__)

# Raw SQL: bulk_create makes an object for each row and an expression for each of its values, which was half
# of the cost of a delta in the journal's thread.
# The runs in one order in all processes, or their batches can deadlock. SQLite locks the whole file.
_LOCK_RUNS = "SELECT id, epoch FROM chat_run WHERE status = %s AND id IN ({}) ORDER BY id"
LOCK_RUNS = _LOCK_RUNS if settings.ON_SQLITE else f"{_LOCK_RUNS} FOR UPDATE"
INSERT_EVENT = (
    "INSERT INTO chat_runevent (run_id, seq, type, data) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
)
INSERT_PAYLOAD = (
    "INSERT INTO chat_sessionevent (run_id, position, payload) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
)


# ValueError is the driver's, for text that it cannot encode.
REFUSED = (DatabaseError, ValueError)


class RunLost(Exception):
    """This process can no longer write to the run.

    It ended, another process took it over, the database refused its batch, or its writer is closed.
    """


@dataclass(slots=True)
class RunBatch:
    """Rows and ADK events of one run, stored by one transaction."""

    claim: Claim
    rows: list[Row]
    payloads: list[tuple[int, str]]  # position and JSON text of ADK events
    committed: "asyncio.Future[bool]"  # False: the run is lost


@dataclass(slots=True)
class RunWriter:
    """One run's access to the journal, with its events that are not yet committed."""

    claim: Claim
    journal: "Journal"
    seq: int  # of the last row that was given a number, committed or not
    position: int = 0  # of the next ADK event; 0, since restart and hand_over delete those of before
    waiting: list[Event] = field(default_factory=list)
    payloads: list[tuple[int, str]] = field(default_factory=list)
    record_waiters: "list[asyncio.Future[bool]]" = field(default_factory=list)
    in_flight: "asyncio.Future[bool] | None" = None  # ``committed`` of the batch that is being committed
    texts: int = 0  # text events so far, after merging
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    def write(self, event: Event) -> None:
        """Add an event to the next batch; readers receive it after the commit."""
        if not self._merge(event):
            self.waiting.append(event)
            self.texts += event.type == events.TEXT
        can_wait = event.type == events.THOUGHT or (event.type == events.TEXT and self.texts > 1)
        self.journal.mark_dirty(self, urgent=not can_wait)

    async def record(self, payload: str, *, can_wait: bool = False) -> None:
        """Store an ADK event; return after the commit. Raise RunLost if the run is lost.

        One that ``can_wait`` is stored with the next batch, and this call returns at once.
        """
        if self.closed or self.lost.is_set():
            raise RunLost
        self.payloads.append((self.position, payload))
        self.position += 1
        if can_wait:
            self.journal.mark_dirty(self, urgent=False)
            return
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.record_waiters.append(done)
        self.journal.mark_dirty(self, urgent=True)
        if not await done:
            raise RunLost

    async def close(self) -> tuple[list[Event], list[str]]:
        """Close the writer; return the events and ADK events that the run's last transaction must store."""
        self.journal.unregister(self)
        self.closed = True
        if in_flight := self.in_flight:
            await asyncio.wait([in_flight])  # a cancellation of this call must not cancel the commit
            if not in_flight.result():
                self.lost.set()  # Journal._finish does not: this writer is unregistered
        rest, payloads = self.waiting, [payload for _position, payload in self.payloads]
        self.waiting, self.payloads = [], []
        for done in self.record_waiters:
            if not done.done():
                done.set_result(False)
        return rest, payloads

    def _merge(self, event: Event) -> bool:
        """Append a delta to the last event of the batch, if both are deltas of one kind.

        A separator stays an event of its own, and so does the first text of a run.
        """
        if not self.waiting or event.type not in (events.TEXT, events.THOUGHT):
            return False
        last = self.waiting[-1]
        if last.type != event.type or events.SEPARATOR in (last.data["text"], event.data["text"]):
            return False
        if event.type == events.TEXT and self.texts == 1:
            return False
        self.waiting[-1] = Event(last.type, {"text": last.data["text"] + event.data["text"]})
        return True


class Journal:
    """The journal of a process, which has one. ``run`` is its task."""

    def __init__(self) -> None:
        self.commits = 0  # read by tests
        self._writers: dict[uuid.UUID, RunWriter] = {}
        self._dirty: dict[uuid.UUID, RunWriter] = {}
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()

    def open(self, claim: Claim, seq: int) -> RunWriter:
        """Return the writer for a claimed run whose log ends at ``seq``."""
        writer = RunWriter(claim, self, seq)
        self._writers[claim.run] = writer
        follow.opened_here(claim.run, seq)
        return writer

    def mark_dirty(self, writer: RunWriter, *, urgent: bool) -> None:
        if self._writers.get(writer.claim.run) is not writer:
            return
        self._dirty[writer.claim.run] = writer
        self._wake.set()
        if urgent:
            self._urgent.set()

    def unregister(self, writer: RunWriter) -> None:
        if self._writers.get(writer.claim.run) is writer:
            del self._writers[writer.claim.run]
            self._dirty.pop(writer.claim.run, None)

    async def run(self) -> None:
        """Commit batches until cancelled; retry each one while the database is away."""
        while True:
            await self._wake.wait()
            try:
                async with asyncio.timeout(settings.JOURNAL_SECONDS):
                    await self._urgent.wait()
            except TimeoutError:
                pass  # nothing urgent
            self._wake.clear()
            self._urgent.clear()
            batches = [self._batch_of(writer) for writer in self._dirty.values()]
            self._dirty.clear()
            if batches:
                try:
                    await self._commit(batches)
                except Exception:  # of Parley itself: it must not end the other runs
                    log.exception("The journal could not commit a batch")
                    for batch in batches:
                        self._finish(batch, held=False)

    def _batch_of(self, writer: RunWriter) -> RunBatch:
        rows = [Row.of(seq, event) for seq, event in enumerate(writer.waiting, writer.seq + 1)]
        writer.seq += len(rows)
        committed = asyncio.get_running_loop().create_future()
        for waiter in writer.record_waiters:
            committed.add_done_callback(partial(_copy_result, target=waiter))
        batch = RunBatch(writer.claim, rows, writer.payloads, committed)
        writer.waiting, writer.payloads, writer.record_waiters, writer.in_flight = [], [], [], committed
        return batch

    async def _commit(self, batches: Sequence[RunBatch]) -> None:
        began = time.monotonic()
        try:
            held = await run_db_patiently(write, batches)
        except REFUSED:
            held = await self._commit_separately(batches)
        self.commits += 1
        metrics.journal_commit_seconds.observe(time.monotonic() - began)
        metrics.journal_batch_events.observe(sum(len(batch.rows) + len(batch.payloads) for batch in batches))
        for batch in batches:
            self._finish(batch, batch.claim in held)
        if settings.REDIS_URL:
            doorbell.ring_soon([str(batch.claim.run) for batch in batches if batch.rows])

    async def _commit_separately(self, batches: Sequence[RunBatch]) -> set[Claim]:
        """Commit each batch in its own transaction: the database refuses only some of them."""
        held: set[Claim] = set()
        for batch in batches:
            try:
                held |= await run_db_patiently(write, [batch])
            except REFUSED:
                log.exception("The journal could not write run %s", batch.claim.run)
        return held

    def _finish(self, batch: RunBatch, held: bool) -> None:
        writer = self._writers.get(batch.claim.run)
        if held:
            follow.deliver(batch.claim.run, batch.rows)
        elif writer is not None:
            writer.lost.set()
        if writer is not None and writer.in_flight is batch.committed:
            writer.in_flight = None
        if not batch.committed.done():
            batch.committed.set_result(held)


def _copy_result(source: "asyncio.Future[bool]", target: "asyncio.Future[bool]") -> None:
    if not target.done():
        target.set_result(source.result())


@transaction.atomic
def write(batches: Sequence[RunBatch]) -> set[Claim]:
    """Store the batches whose claim is still valid; return those claims.

    A retry after a commit whose confirmation was lost is idempotent. Only the process that holds the run's
    epoch assigns seq numbers, so a row that already exists is from this batch.
    """
    with connection.cursor() as cursor:
        keys = [_key(batch) for batch in batches]
        cursor.execute(LOCK_RUNS.format(", ".join(["%s"] * len(keys))), [Run.Status.RUNNING.value, *keys])
        epochs = dict(cursor.fetchall())
        kept = [
            (key, each)
            for key, each in zip(keys, batches, strict=True)
            if epochs.get(key) == each.claim.epoch
        ]
        events_of = [(key, row.seq, row.type, row.data) for key, batch in kept for row in batch.rows]
        payloads_of = [(key, position, text) for key, batch in kept for position, text in batch.payloads]
        if events_of:
            cursor.executemany(INSERT_EVENT, events_of)
        if payloads_of:
            cursor.executemany(INSERT_PAYLOAD, payloads_of)
    return {batch.claim for _key, batch in kept}


def _key(batch: RunBatch) -> Any:
    """Return the run's id as this database stores and returns it."""
    return Run._meta.pk.get_db_prep_value(batch.claim.run, connection)
