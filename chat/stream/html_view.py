"""A run's text as HTML for the page: ``html`` rows in place of text rows, at the pace of an eye.

Readers of one run in this process share its rendering: see Reply.
"""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from chat import events
from chat.database import AWAY, run_db
from chat.events import REPLACE, TERMINAL, TEXT, Row
from chat.models import Message
from chat.rendering import RENDERER_VERSION
from chat.rendering.process import plain, render_in_time_async, render_part

# Ten events a second at most (text that grows faster is not read any faster), and a tenth of the time for
# rendering at most: a list of 21 KB, one block, takes 8 ms each time.
TICK_SECONDS = 0.1
REST = 10
# How long a reader who was shown text leaves alone what comes then. An end is held up by no more.
GATHER_SECONDS = TICK_SECONDS

_replies: dict[uuid.UUID, "Reply"] = {}
# A tag of what nh3 wrote; an attribute may hold ">".
TAG = re.compile(r'<(/?)([a-z0-9]+)[^">]*(?:"[^"]*"[^">]*)*>')
VOID = {"br", "hr"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A reply's HTML as it was after event ``seq``: the first ``count`` of ``closed``, then ``open``."""

    seq: int
    closed: list[str]
    count: int
    open: str


class Reply:
    """One run's text and its HTML as far as any reader here has come. Pictures are taken one at a time."""

    def __init__(self, run_id: uuid.UUID) -> None:
        self.readers = 0
        self.seconds = 0.0  # of CPU that the last picture took
        self.taken_at = float("-inf")
        self._run = run_id
        self._rows: list[Row] = []  # the texts since the last replace, and that
        self._texts: list[str] = []  # what they say
        self._taken = 0  # the last event in them
        self._closed: list[str] = []
        self._tail = ""  # the source of what is not closed
        self._definitions: dict[str, Any] = {}
        self._closes = False  # a line has ended since the last picture
        self._gave_up = False  # one picture took too long: from then on the text is shown as it is written
        self._picture = Picture(0, self._closed, 0, "")
        self._final = False
        self._lock = asyncio.Lock()

    @property
    def seq(self) -> int:
        return self._picture.seq

    async def picture(self, rows: Sequence[Row], seq: int, *, final: bool) -> Picture:
        """The reply after event ``seq``, whose latest texts are ``rows``; ``final``: as it is stored."""
        async with self._lock:
            if self._taken > seq:  # another reader is ahead of this one
                behind = Reply(self._run)
                return await behind.picture([row for row in self._rows if row.seq <= seq], seq, final=final)
            if self.seq < seq or self._final < final:
                for row in rows:
                    if row.seq > self._taken:
                        self._add(row)
                self._picture = await (self._stored(seq) if final else self._drawn(seq))
                self._final = final
                self.taken_at = asyncio.get_running_loop().time()
            return self._picture

    def _add(self, row: Row) -> None:
        if row.type == REPLACE:
            self._rows, self._texts, self._closed, self._tail, self._definitions = [], [], [], "", {}
        text = row.event().data["text"]
        self._rows.append(row)
        self._texts.append(text)
        self._taken = row.seq
        self._tail += text
        self._closes = self._closes or "\n" in text or "\r" in self._tail

    async def _drawn(self, seq: int) -> Picture:
        if not self._gave_up:
            part = await render_part(self._tail, self._definitions, closes=self._closes)
            if part:
                self._closed += part.closed
                self._tail, self._definitions, self._closes = part.tail, part.definitions, False
                self.seconds = part.seconds
                return Picture(seq, self._closed, len(self._closed), part.open)
            self._gave_up, self.seconds = True, settings.RENDER_SECONDS
            return Picture(seq, [], 0, plain("".join(self._texts)))
        began = time.thread_time()
        shown = plain("".join(self._texts))
        self.seconds = time.thread_time() - began
        return Picture(seq, [], 0, shown)

    async def _stored(self, seq: int) -> Picture:
        """Not rendered once more: near the budget that could come out otherwise than a reload."""
        try:
            html = await run_db(_html_of, self._run)
        except AWAY:  # the last text is shown all the same
            html = None
        if html is None:
            html = await render_in_time_async("".join(self._texts))
        closed = await asyncio.to_thread(_roots, html)  # 0.1 s for a hostile megabyte
        return Picture(seq, closed, len(closed), "")


def _html_of(run_id: uuid.UUID) -> str | None:
    """The stored HTML of a run's reply; None where another renderer wrote it."""
    found = Message.objects.filter(run=run_id, renderer_version=RENDERER_VERSION)
    return found.values_list("html", flat=True).first()


def _roots(html: str) -> list[str]:
    """The root elements of what a renderer wrote."""
    found, depth, begin = [], 0, 0
    for tag in TAG.finditer(html):
        if tag[2] not in VOID:
            depth += -1 if tag[1] else 1
        if depth == 0:
            found.append(html[begin : tag.end()])
            begin = tag.end()
    return found


@contextmanager
def _reply_of(run_id: uuid.UUID) -> Iterator[Reply]:
    """The run's reply as this process's readers share it."""
    reply = _replies.setdefault(run_id, Reply(run_id))
    reply.readers += 1
    try:
        yield reply
    finally:
        reply.readers -= 1
        if not reply.readers:
            del _replies[run_id]


async def rows(
    run_id: uuid.UUID, batches: AsyncGenerator[list[Row], None], after: int
) -> AsyncGenerator[list[Row], None]:
    """A run's rows with ``html`` in place of text, from those after ``after`` on.

    ``batches`` are of the whole run, from its first row: HTML needs the whole text. As there, an empty batch
    is silence.
    """
    with _reply_of(run_id) as reply:
        view = _View(reply, after)
        async with aclosing(batches), aclosing(_until_due(batches, view)) as timely:
            async for batch in timely:
                found = await (view.show() if batch is None else view.take(batch))
                if found or batch == []:
                    yield found


async def _until_due(
    batches: AsyncGenerator[list[Row], None], view: "_View"
) -> AsyncGenerator[list[Row] | None, None]:
    """The batches as they come, and None whenever text has waited long enough.

    Who has just been shown text takes the next batch a tick later, when it holds all that came meanwhile:
    a third of the wakings, and of their cost.
    """
    upcoming = asyncio.ensure_future(anext(batches, None))
    try:
        while True:
            await asyncio.wait({upcoming}, timeout=view.patience())
            if not upcoming.done():
                yield None
                continue
            batch = upcoming.result()
            if batch is None:
                return
            yield batch
            if batch and batch[-1].type in TERMINAL:
                return
            await asyncio.sleep(view.rest())
            upcoming = asyncio.ensure_future(anext(batches, None))
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)  # a generator at work can't be closed


class _View:
    """What one connection has been shown, and the text that it has not."""

    def __init__(self, reply: Reply, after: int) -> None:
        self._reply = reply
        self._after = after
        self._held: list[Row] = []  # the latest texts, not yet shown
        self._seq = 0  # of the last text
        self._shown_at: float | None = None
        self._closed: list[str] = []  # what was sent: the first ``count`` of these, then ``open``
        self._count = 0
        self._open = ""

    def patience(self) -> float | None:
        """Seconds until held text is to be shown; None where there is none."""
        if not self._held:
            return None
        if self._shown_at is None:
            return 0.0
        last = self._shown_at
        if self._reply.seq < self._seq:
            last = max(last, self._reply.taken_at)
        pause = max(TICK_SECONDS, REST * self._reply.seconds)
        return max(0.0, last + pause - asyncio.get_running_loop().time())

    def rest(self) -> float:
        """Seconds until it is worth looking for more text."""
        if self._shown_at is None or self._held:
            return 0.0
        return max(0.0, self._shown_at + GATHER_SECONDS - asyncio.get_running_loop().time())

    async def take(self, batch: list[Row]) -> list[Row]:
        """What to send of a batch now. Text that is held goes before anything else."""
        found: list[Row] = []
        for row in batch:
            if row.type == TEXT:
                self._hold(row)
            elif row.type == REPLACE:
                self._held.clear()  # nobody needs to see what is forgotten now
                self._hold(row)
                if row.seq > self._after:
                    found += [row, *await self.show()]
            elif row.seq > self._after:
                if self._held or row.type in TERMINAL:
                    found += await self.show(final=row.type in TERMINAL)
                found.append(row)
        if self.patience() == 0:
            found += await self.show()
        return found

    def _hold(self, row: Row) -> None:
        self._held.append(row)
        self._seq = row.seq

    async def show(self, *, final: bool = False) -> list[Row]:
        """The held text as ``html`` rows; none where the page shows all of it already."""
        if not self._seq:
            return []
        starts_anew = self._shown_at is None or any(row.type == REPLACE for row in self._held)
        picture = await self._reply.picture(self._held, self._seq, final=final)
        self._held.clear()
        self._shown_at = asyncio.get_running_loop().time()
        return self._difference(picture, starts_anew)

    def _difference(self, picture: Picture, starts_anew: bool) -> list[Row]:
        start = 0 if starts_anew else self._same(picture)
        closed = picture.closed[start : picture.count]
        if not starts_anew and not closed and (start, picture.open) == (self._count, self._open):
            return []
        keep = 0 if starts_anew else _common(self._open, picture.open)
        data = {
            "from": start,
            "closed": closed,
            "keep": _units(picture.open[:keep]),
            "open": picture.open[keep:],
        }
        self._closed, self._count, self._open = picture.closed, picture.count, picture.open
        return [Row(max(picture.seq, self._after), "html", events.encode(data))]

    def _same(self, picture: Picture) -> int:
        """How many closed blocks stay as they were sent."""
        count = min(self._count, picture.count)
        if picture.closed is self._closed:
            return count
        pairs = zip(self._closed[:count], picture.closed, strict=False)
        return next((n for n, (old, new) in enumerate(pairs) if old != new), count)


def _common(one: str, other: str) -> int:
    """The length of what both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _units(text: str) -> int:
    """The length as JavaScript counts it."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
