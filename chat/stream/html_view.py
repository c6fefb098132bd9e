"""A run's text and thoughts as HTML for the page, in place of their text, at most ten times a second.

The readers of one run in this process share its rendering, see RenderedReply.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from chat.database import AWAY, run_db
from chat.events import REPLACE, TERMINAL, TEXT, THOUGHT, TOOL_RETURNED, Event, Row
from chat.models import Message
from chat.rendering import RENDERER_VERSION
from chat.rendering.renderer import plain, render_in_time_async, render_part
from chat.rendering.roots import root_elements

FRAME_SECONDS = 0.1  # at most ten html events a second: text that grows faster is not read any faster
# The pause after a render is at least 10 times its CPU time: rendering a reply takes a tenth of a core at
# most. A list of 21 KB, which is one block, takes 8 ms each time.
IDLE_PER_RENDER = 10
# After text was sent, read again only after this time, so that deltas coalesce. With the search for closed
# blocks only after a line end, this cut the CPU of a stream from 0.63 to 0.42 % of a core. It delays the
# terminal event by at most as much.
GATHER_SECONDS = FRAME_SECONDS

_replies: dict[uuid.UUID, "RenderedReply"] = {}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A reply's HTML after event ``seq``: the first ``count`` blocks of ``closed``, then ``open``.

    ``closed`` can grow after the snapshot: it is the list of the RenderedReply.
    """

    seq: int
    closed: list[str]
    count: int
    open: str


class RenderedReply:
    """A run's text and HTML, up to the last row that any reader has passed in. A lock serializes renders."""

    def __init__(self, run_id: uuid.UUID) -> None:
        self.readers = 0
        self.thoughts: dict[int, RenderedThought] = {}  # by the seq of the first row
        self.render_seconds = 0.0  # CPU time of the last render
        self.rendered_at = float("-inf")  # on the event loop's clock
        self.run = run_id
        self._texts: list[tuple[int, str]] = []  # seq and text of the last replace event and those after it
        self._text_seq = 0  # of the last of _texts; higher than the snapshot's while text waits
        self._closed: list[str] = []
        self._tail = ""  # source of the blocks that are not closed
        self._definitions: dict[str, Any] = {}
        self._line_ended = False  # since the last render: only then can a block have been closed
        self._is_plain = False  # a render took too long: from now on the text is shown as it was written
        self._snapshot = Snapshot(0, self._closed, 0, "")
        self._is_final = False
        self._lock = asyncio.Lock()

    @property
    def seq(self) -> int:
        return self._snapshot.seq

    async def snapshot(self, rows: Sequence[Row], seq: int, *, final: bool) -> Snapshot:
        """Return the reply after event ``seq``, given its latest ``rows``; if ``final``, its stored HTML."""
        async with self._lock:
            if self._text_seq > seq:  # another reader is ahead: render for this one alone
                behind = type(self)(self.run)
                for text_seq, text in self._texts:
                    if text_seq <= seq:
                        behind._add(text_seq, text)
                return await behind.snapshot([], seq, final=final)
            if self.seq < seq or (final and not self._is_final):
                for row in rows:
                    if row.seq > self._text_seq:
                        if row.type == REPLACE:
                            self._texts, self._closed, self._tail, self._definitions = [], [], "", {}
                        self._add(row.seq, row.event().data["text"])
                self._snapshot = await (self._load_stored(seq) if final else self._render(seq))
                self._is_final = final
                self.rendered_at = asyncio.get_running_loop().time()
            return self._snapshot

    def _add(self, seq: int, text: str) -> None:
        self._texts.append((seq, text))
        self._text_seq = seq
        self._tail += text
        self._line_ended = self._line_ended or "\n" in text or "\r" in self._tail

    def _text(self) -> str:
        return "".join(text for _seq, text in self._texts)

    async def _render(self, seq: int) -> Snapshot:
        if not self._is_plain:
            part = await render_part(self._tail, self._definitions, closes=self._line_ended)
            if part:
                self._closed += part.closed
                self._tail, self._definitions, self._line_ended = part.tail, part.definitions, False
                self.render_seconds = part.seconds
                return Snapshot(seq, self._closed, len(self._closed), part.open)
            self._is_plain, self.render_seconds = True, settings.RENDER_SECONDS
            return Snapshot(seq, [], 0, plain(self._text()))
        began = time.thread_time()
        html = plain(self._text())
        self.render_seconds = time.thread_time() - began
        return Snapshot(seq, [], 0, html)

    async def _load_stored(self, seq: int) -> Snapshot:
        # Not rendered again: near the time limit, a second render could differ from the stored one.
        try:
            html = await run_db(_stored_html, self.run)
        except AWAY:  # no database: the last text is shown all the same
            html = None
        if html is None:
            html = await render_in_time_async(self._text())
        closed = await asyncio.to_thread(root_elements, html)  # 0.1 s for a hostile megabyte
        return Snapshot(seq, closed, len(closed), "")


class RenderedThought(RenderedReply):
    """A thought's text and HTML. Its HTML is not stored."""

    async def _load_stored(self, seq: int) -> Snapshot:
        closed = root_elements(await render_in_time_async(self._text()))
        return Snapshot(seq, closed, len(closed), "")


def _stored_html(run_id: uuid.UUID) -> str | None:
    """Return the stored HTML of a run's reply, None if another version of the renderer wrote it."""
    found = Message.objects.filter(run=run_id, renderer_version=RENDERER_VERSION)
    return found.values_list("html", flat=True).first()


@contextmanager
def _shared_reply(run_id: uuid.UUID) -> Iterator[RenderedReply]:
    reply = _replies.setdefault(run_id, RenderedReply(run_id))
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
    """Yield the rows of a run after seq ``after``, with ``html`` in place of text.

    ``batches`` must begin with the run's first row: HTML needs the whole text. An empty batch means silence
    and is passed on.
    """
    with _shared_reply(run_id) as reply:
        view = _View(reply, after)
        async with aclosing(batches), aclosing(_until_due(batches, view)) as timely:
            async for batch in timely:
                found = await (view.render() if batch is None else view.take(batch))
                if found or batch == []:
                    yield found


async def _until_due(
    batches: AsyncGenerator[list[Row], None], view: "_View"
) -> AsyncGenerator[list[Row] | None, None]:
    """Yield each batch, and None when pending text is due."""
    upcoming = asyncio.ensure_future(anext(batches, None))
    try:
        while True:
            await asyncio.wait({upcoming}, timeout=view.seconds_until_due())
            if not upcoming.done():
                yield None
                continue
            batch = upcoming.result()
            if batch is None:
                return
            yield batch
            if batch and batch[-1].type in TERMINAL:
                return
            await asyncio.sleep(view.seconds_to_gather())
            upcoming = asyncio.ensure_future(anext(batches, None))
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)  # a running generator can't be closed


class _View:
    """The HTML that one connection has received."""

    def __init__(self, reply: RenderedReply, after: int) -> None:
        self._reply = reply
        self._after = after  # seq of the last row that the client has from an earlier connection
        self._text = _Body(reply, "html", after)
        self._thought: _Body | None = None  # that may still grow

    def seconds_until_due(self) -> float | None:
        """Return the seconds until pending text is due, None without pending text."""
        # At most one of the two has pending text.
        due = self._thought.seconds_until_due() if self._thought else None
        return self._text.seconds_until_due() if due is None else due

    def seconds_to_gather(self) -> float:
        """Return the seconds to wait before the next batch is read."""
        return (self._thought or self._text).seconds_to_gather()

    async def take(self, batch: list[Row]) -> list[Row]:
        """Return the rows to send now. Pending text goes before any other row."""
        found: list[Row] = []
        for row in batch:
            if row.type == THOUGHT:
                found += await self._text.flush()
                self._hold_thought(row)
            elif row.type == TEXT:
                found += await self._end_thought()
                self._text.hold(row)
            elif row.type == REPLACE:
                found += await self._end_thought()
                self._text.restart(row)
                if row.seq > self._after:
                    found += [row, *await self._text.render()]
            else:
                # A result is no step of its own: the thought before it may go on.
                is_result = row.type == TOOL_RETURNED and self._thought
                found += await (self._thought.flush() if is_result and self._thought else self._end_thought())
                if row.seq > self._after:
                    is_end = row.type in TERMINAL
                    found += await (self._text.render(final=True) if is_end else self._text.flush())
                    found.append(row)
        if self.seconds_until_due() == 0:
            found += await self.render()
        return found

    def _hold_thought(self, row: Row) -> None:
        if self._thought is None:
            rendered = self._reply.thoughts.setdefault(row.seq, RenderedThought(self._reply.run))
            self._thought = _Body(rendered, THOUGHT, self._after)
        self._thought.hold(row)

    async def _end_thought(self) -> list[Row]:
        """Return the thought's last HTML: no later text belongs to it."""
        thought, self._thought = self._thought, None
        return await thought.render(final=True) if thought else []

    async def render(self) -> list[Row]:
        """Return the pending text as a row; no row if the client has all of its HTML."""
        return await (self._thought or self._text).render()


class _Body:
    """The HTML of the reply or of a thought that one connection has received, and its pending text."""

    def __init__(self, rendered: RenderedReply, event: str, after: int) -> None:
        self._rendered = rendered
        self._event = event
        self._after = after
        self._pending: list[Row] = []  # the latest texts, not yet sent
        self._text_seq = 0  # of the last text, pending or sent
        self._sent_at: float | None = None  # on the event loop's clock
        self._sent = Snapshot(0, [], 0, "")

    def seconds_until_due(self) -> float | None:
        if not self._pending:
            return None
        if self._sent_at is None:
            return 0.0
        last = self._sent_at
        if self._rendered.seq < self._text_seq:  # not rendered for another reader: wait for the next render
            last = max(last, self._rendered.rendered_at)
        pause = max(FRAME_SECONDS, IDLE_PER_RENDER * self._rendered.render_seconds)
        return max(0.0, last + pause - asyncio.get_running_loop().time())

    def seconds_to_gather(self) -> float:
        if self._sent_at is None or self._pending:
            return 0.0
        return max(0.0, self._sent_at + GATHER_SECONDS - asyncio.get_running_loop().time())

    def hold(self, row: Row) -> None:
        self._pending.append(row)
        self._text_seq = row.seq

    def restart(self, row: Row) -> None:
        """Hold the row that replaces all text; what was not sent will not be."""
        self._pending.clear()
        self.hold(row)

    async def flush(self) -> list[Row]:
        return await self.render() if self._pending else []

    async def render(self, *, final: bool = False) -> list[Row]:
        if not self._text_seq:
            return []
        if self._event == THOUGHT and self._text_seq <= self._after:  # the client has this thought
            return []
        is_first = self._sent_at is None or any(row.type == REPLACE for row in self._pending)
        snapshot = await self._rendered.snapshot(self._pending, self._text_seq, final=final)
        self._pending.clear()
        self._sent_at = asyncio.get_running_loop().time()
        return self._difference(snapshot, is_first)

    def _difference(self, snapshot: Snapshot, is_first: bool) -> list[Row]:
        sent, self._sent = self._sent, snapshot
        start = 0 if is_first else _unchanged_blocks(sent, snapshot)
        closed = snapshot.closed[start : snapshot.count]
        if not is_first and not closed and (start, snapshot.open) == (sent.count, sent.open):
            return []
        keep = 0 if is_first else _common_length(sent.open, snapshot.open)
        data = {
            "from": start,
            "closed": closed,
            "keep": len(snapshot.open[:keep].encode("utf-16-le")) // 2,  # as JavaScript counts
            "open": snapshot.open[keep:],
        }
        return [Row.of(max(snapshot.seq, self._after), Event(self._event, data))]


def _unchanged_blocks(sent: Snapshot, snapshot: Snapshot) -> int:
    """Return how many closed blocks stay as they were sent."""
    count = min(sent.count, snapshot.count)
    if snapshot.closed is sent.closed:
        return count
    pairs = zip(sent.closed[:count], snapshot.closed, strict=False)
    return next((n for n, (old, new) in enumerate(pairs) if old != new), count)


def _common_length(one: str, other: str) -> int:
    """Return the length of the common prefix."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low
