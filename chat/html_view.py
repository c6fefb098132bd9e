"""A run's text as HTML for the page: ``html`` rows in place of text rows, at the pace of an eye.

Readers of one run in this process share its rendering: see Reply.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial

from chat import events
from chat.events import REPLACE, TERMINAL, TEXT, Row
from chat.rendering.stream import MarkdownStream

# Ten events a second at most (text that grows faster is not read any faster), and a tenth of the time for
# rendering at most: a list of 21 KB, one block, takes 8 ms each time.
TICK_SECONDS = 0.1
REST = 10
# How long a reader who was shown text leaves alone what comes then. An end is held up by no more.
GATHER_SECONDS = TICK_SECONDS
# What may take longer than a millisecond or two is rendered beside the event loop: a long block, and code,
# whose colours may take 0.1 s.
LIGHT = 4096  # characters

_thread = ThreadPoolExecutor(1, thread_name_prefix="render")
_replies: dict[uuid.UUID, "Reply"] = {}


@dataclass(frozen=True, slots=True)
class Picture:
    """A reply's HTML as it was after event ``seq``: the first ``count`` of ``closed``, then ``open``."""

    seq: int
    closed: list[str]
    count: int
    open: str


class Reply:
    """One run's text and its HTML as far as any reader here has come. Pictures are taken one at a time."""

    def __init__(self) -> None:
        self.readers = 0
        self.seconds = 0.0  # of CPU that the last picture took
        self.taken_at = float("-inf")
        self._rows: list[Row] = []  # the texts since the last replace, and that
        self._stream = MarkdownStream()
        self._picture = Picture(0, self._stream.closed, 0, "")
        self._final = False
        self._job: asyncio.Future[Picture] | None = None

    @property
    def seq(self) -> int:
        return self._picture.seq

    async def picture(self, rows: Sequence[Row], seq: int, *, final: bool) -> Picture:
        """The reply after event ``seq``, whose latest texts are ``rows``; ``final``: as it is stored."""
        if self.seq == seq and self._final >= final:
            return self._picture
        take = partial(self._take, rows, seq, final)
        if self._is_light(rows) and not final and (self._job is None or self._job.done()):
            picture = take()
        else:
            self._job = asyncio.get_running_loop().run_in_executor(_thread, take)
            picture = await self._job
        self.taken_at = asyncio.get_running_loop().time()
        return picture

    def _is_light(self, rows: Sequence[Row]) -> bool:
        text = self._stream.tail + "".join(row.data for row in rows if row.seq > self.seq)
        return len(text) <= LIGHT and "```" not in text and "~~~" not in text

    def _take(self, rows: Sequence[Row], seq: int, final: bool) -> Picture:
        if self.seq > seq:  # another reader is ahead of this one
            behind = Reply()
            return behind._take([row for row in self._rows if row.seq <= seq], seq, final)
        began = time.thread_time()
        news = [row for row in rows if row.seq > self.seq]
        if news or (final and not self._final):
            for row in news:
                self._add(row)
            self._render(seq, final)
            self.seconds = time.thread_time() - began
        return self._picture

    def _add(self, row: Row) -> None:
        if row.type == REPLACE:
            self._rows, self._stream = [], MarkdownStream()
        self._rows.append(row)
        self._stream.feed(row.event().data["text"])

    def _render(self, seq: int, final: bool) -> None:
        if final:
            closed, shown = self._stream.finish(), ""
        else:
            self._stream.close()
            closed, shown = self._stream.closed, self._stream.open_html()
        self._final = final
        self._picture = Picture(seq, closed, len(closed), shown)


@contextmanager
def _reply_of(run_id: uuid.UUID) -> Iterator[Reply]:
    """The run's reply as this process's readers share it."""
    reply = _replies.setdefault(run_id, Reply())
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
        starts_anew = self._shown_at is None or any(row.type == REPLACE for row in self._held)
        picture = await self._reply.picture(self._held, self._seq, final=final)
        self._held.clear()
        if not self._seq:
            return []
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
