"""Server-sent events: how a run's rows become frames.

Each frame is one batch of whole lines. A heartbeat is a comment line alone: with a blank line
behind it, clients that keep the last id take it for an empty event.
"""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing

from django.conf import settings
from django.http import StreamingHttpResponse

from chat.events import TERMINAL, TEXT, Row

RETRY = b"retry: 2000\n"
HEARTBEAT = b": still here\n"
# Line ends to clients that split lines as Unicode does (httpx's iter_lines, str.splitlines). In JSON they
# stand in strings only, where these mean the same.
LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def frame(run_id: uuid.UUID, row: Row) -> bytes:
    """One event. Only text is unnamed: it is the seed's protocol."""
    name = "" if row.type == TEXT else f"event: {row.type}\n"
    return f"id: {run_id}:{row.seq}\n{name}data: {_on_one_line(row.data)}\n\n".encode()


def _on_one_line(data: str) -> str:
    if not data.isascii():
        for line_end, escaped in LINE_ENDS.items():
            data = data.replace(line_end, escaped)
    return data


def done(run_id: uuid.UUID, seq: int) -> bytes:
    return f"id: {run_id}:{seq}\ndata: [DONE]\n\n".encode()


async def frames(run_id: uuid.UUID, batches: AsyncGenerator[list[Row], None]) -> AsyncGenerator[bytes, None]:
    """A run's stream: its rows, comments in silence, ``[DONE]`` behind the terminal event."""
    yield RETRY
    async with aclosing(batches):
        async for batch in batches:
            if not batch:
                yield HEARTBEAT
            for piece in _pieces(run_id, batch):
                yield piece
            if batch and batch[-1].type in TERMINAL:
                yield done(run_id, batch[-1].seq + 1)


async def end(run_id: uuid.UUID, seq: int) -> AsyncIterator[bytes]:
    """What is left of a run for a reader who has its terminal event."""
    yield RETRY
    yield done(run_id, seq)


def _pieces(run_id: uuid.UUID, rows: Iterable[Row]) -> Iterator[bytes]:
    """The frames joined, in pieces that a connection may hold unsent."""
    piece: list[bytes] = []
    size = 0
    for row in rows:
        encoded = frame(run_id, row)
        if piece and size + len(encoded) > settings.UNSENT_MAX_BYTES // 2:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(encoded)
        size += len(encoded)
    if piece:
        yield b"".join(piece)


def response(chunks: AsyncIterator[bytes]) -> StreamingHttpResponse:
    """The answer that carries ``chunks``, marked so that no proxy holds or changes them."""
    stream = StreamingHttpResponse(chunks, content_type="text/event-stream; charset=utf-8")
    stream["Cache-Control"] = "private, no-store, no-transform"
    stream["X-Accel-Buffering"] = "no"
    return stream
