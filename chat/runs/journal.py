"""The process's one writer: events of all its runs, committed in groups, then shown.

A batch is one transaction. It holds what gathered in JOURNAL_SECONDS, or less where something
cannot wait: the first text of a run, a tool's call, an ADK event that the Runner waits for.
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
from chat.runs import subscribers

log = logging.getLogger(__name__)

# By hand: bulk_create makes an object of each row and an expression of each of its values, and that was
# half of what a delta cost the journal's thread.
INSERT_EVENT = (
    "INSERT INTO chat_runevent (run_id, seq, type, data) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
)
INSERT_PAYLOAD = (
    "INSERT INTO chat_sessionevent (run_id, position, payload) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
)


class RunLost(Exception):
    """This process may not write to the run any more: it ended, or another process took it over."""


@dataclass(slots=True)
class Page:
    """What one batch writes for one run."""

    claim: Claim
    rows: list[Row]
    payloads: list[tuple[int, str]]  # position and JSON text of ADK events
    written: "asyncio.Future[bool]"  # False: lost


@dataclass(slots=True)
class Pen:
    """The right to write one run's log from this process, and what is not yet written."""

    claim: Claim
    journal: "Journal"
    seq: int  # of the last row given out
    position: int = 0  # of the next ADK event
    waiting: list[Event] = field(default_factory=list)
    payloads: list[tuple[int, str]] = field(default_factory=list)
    recorded: "list[asyncio.Future[bool]]" = field(default_factory=list)
    in_flight: "asyncio.Future[bool] | None" = None
    texts: int = 0  # text events given out so far
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, event: Event) -> None:
        """Take an event; it is shown once its batch is committed."""
        if not self._merge(event):
            self.waiting.append(event)
            self.texts += event.type == events.TEXT
        can_wait = event.type == events.THOUGHT or (event.type == events.TEXT and self.texts > 1)
        self.journal.look(self, urgent=not can_wait)

    async def record(self, payload: str) -> None:
        """Store an ADK event; returns after the commit. Raises RunLost."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.payloads.append((self.position, payload))
        self.position += 1
        self.recorded.append(done)
        self.journal.look(self, urgent=True)
        if self.lost.is_set() or not await done:
            raise RunLost

    async def put_down(self) -> tuple[list[Event], list[str]]:
        """Close the pen: what was not yet written, for the run's last transaction."""
        self.journal.forget(self)
        if self.in_flight is not None:
            await asyncio.wait([self.in_flight])
        rest, payloads = self.waiting, [payload for _position, payload in self.payloads]
        self.waiting, self.payloads = [], []
        for done in self.recorded:
            if not done.done():
                done.set_result(False)
        return rest, payloads

    def _merge(self, event: Event) -> bool:
        """Deltas of one kind in one batch become one event; a separator stays by itself, and so
        does the first text of a run.
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
    """Begin with ``run`` as a task of the process; one a process."""

    def __init__(self) -> None:
        self.commits = 0  # batches written, for the curious and the tests
        self._pens: dict[uuid.UUID, Pen] = {}
        self._dirty: dict[uuid.UUID, Pen] = {}
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._rings: set[asyncio.Task[None]] = set()

    def open(self, claim: Claim, seq: int) -> Pen:
        """The pen for a claimed run whose log ends at ``seq``."""
        pen = Pen(claim, self, seq)
        self._pens[claim.run] = pen
        subscribers.opened_here(claim.run)
        return pen

    def look(self, pen: Pen, *, urgent: bool) -> None:
        if self._pens.get(pen.claim.run) is not pen:
            return
        self._dirty[pen.claim.run] = pen
        self._wake.set()
        if urgent:
            self._hurry.set()

    def forget(self, pen: Pen) -> None:
        if self._pens.get(pen.claim.run) is pen:
            del self._pens[pen.claim.run]
            self._dirty.pop(pen.claim.run, None)

    async def run(self) -> None:
        """Write batches until cancelled. A batch is never given up while the database is away."""
        while True:
            await self._wake.wait()
            try:
                async with asyncio.timeout(settings.JOURNAL_SECONDS):
                    await self._hurry.wait()
            except TimeoutError:
                pass  # nothing urgent came: what gathered is written now
            self._wake.clear()
            self._hurry.clear()
            pages = [self._page(pen) for pen in self._dirty.values()]
            self._dirty.clear()
            if pages:
                await self._commit(pages)

    def _page(self, pen: Pen) -> Page:
        rows = []
        for event in pen.waiting:
            pen.seq += 1
            rows.append(Row(pen.seq, event.type, events.encode(event.data)))
        done = asyncio.get_running_loop().create_future()
        for waiter in pen.recorded:
            done.add_done_callback(partial(_pass_on, waiter=waiter))
        page = Page(pen.claim, rows, pen.payloads, done)
        pen.waiting, pen.payloads, pen.recorded, pen.in_flight = [], [], [], done
        return page

    async def _commit(self, pages: Sequence[Page]) -> None:
        began = time.monotonic()
        try:
            held = await run_db_patiently(write, pages)
        except DatabaseError:
            held = await self._commit_apart(pages)
        self.commits += 1
        metrics.journal_commit_seconds.observe(time.monotonic() - began)
        metrics.journal_batch_events.observe(sum(len(page.rows) + len(page.payloads) for page in pages))
        for page in pages:
            self._finish(page, page.claim in held)
        self._ring([str(page.claim.run) for page in pages if page.rows])

    async def _commit_apart(self, pages: Sequence[Page]) -> set[Claim]:
        """One page holds what the database refuses: the others must not suffer for it."""
        held: set[Claim] = set()
        for page in pages:
            try:
                held |= await run_db_patiently(write, [page])
            except DatabaseError:
                log.exception("The journal could not write run %s", page.claim.run)
        return held

    def _finish(self, page: Page, held: bool) -> None:
        pen = self._pens.get(page.claim.run)
        if held:
            subscribers.deliver(page.claim.run, page.rows)
        elif pen is not None:
            pen.lost.set()
        if pen is not None and pen.in_flight is page.written:
            pen.in_flight = None
        page.written.set_result(held)

    def _ring(self, names: list[str]) -> None:
        if names and settings.REDIS_URL:
            task = asyncio.ensure_future(doorbell.ring(names))
            self._rings.add(task)
            task.add_done_callback(self._rings.discard)


def _pass_on(page: "asyncio.Future[bool]", waiter: "asyncio.Future[bool]") -> None:
    if not waiter.done():
        waiter.set_result(page.result())


@transaction.atomic
def write(pages: Sequence[Page]) -> set[Claim]:
    """Store the pages of runs that are still held; returns which those were.

    Rows that are there already are left: who holds the epoch alone numbers them, so they are this
    very page's, of a commit whose answer was lost.
    """
    epochs = dict(
        Run.objects.select_for_update()
        .filter(pk__in=[page.claim.run for page in pages], status=Run.Status.RUNNING)
        .order_by("pk")  # two processes that meet in a batch wait for, and never on, each other
        .values_list("pk", "epoch")
    )
    kept = [page for page in pages if epochs.get(page.claim.run) == page.claim.epoch]
    events_of = [(_key(page), row.seq, row.type, row.data) for page in kept for row in page.rows]
    payloads_of = [(_key(page), position, text) for page in kept for position, text in page.payloads]
    with connection.cursor() as cursor:
        if events_of:
            cursor.executemany(INSERT_EVENT, events_of)
        if payloads_of:
            cursor.executemany(INSERT_PAYLOAD, payloads_of)
    return {page.claim for page in kept}


def _key(page: Page) -> Any:
    """The run's id as this database holds it."""
    return Run._meta.pk.get_db_prep_value(page.claim.run, connection)
