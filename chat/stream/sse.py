"""Server-sent events: frames of a run's rows."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing

from django.conf import settings
from django.http import StreamingHttpResponse

from chat.events import TERMINAL, TEXT, Row

RETRY = b"retry: 2000\n"
# No blank line after it: some clients that keep the last id would take it for an empty event.
HEARTBEAT = b": still here\n"
# Clients that split lines as Unicode does (httpx's iter_lines, str.splitlines) take these for line ends. JSON
# has them only in strings, where the escapes mean the same.
LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def frame(run_id: uuid.UUID, row: Row) -> bytes:
    """Return the frame of one event."""
    # Text is unnamed: the tutorial's EventSource client has a handler for unnamed events only.
    name = "" if row.type == TEXT else f"event: {row.type}\n"
    return f"id: {run_id}:{row.seq}\n{name}data: {_escape_line_ends(row.data)}\n\n".encode()


def _escape_line_ends(data: str) -> str:
    if not data.isascii():
        for line_end, escaped in LINE_ENDS.items():
            data = data.replace(line_end, escaped)
    return data


def done(run_id: uuid.UUID, seq: int) -> bytes:
    return f"id: {run_id}:{seq}\ndata: [DONE]\n\n".encode()


async def frames(run_id: uuid.UUID, batches: AsyncGenerator[list[Row], None]) -> AsyncGenerator[bytes, None]:
    """Yield a run's stream: its rows, heartbeats in silence, and ``[DONE]`` after the terminal event."""
    yield RETRY
    async with aclosing(batches):
        async for batch in batches:
            if not batch:
                yield HEARTBEAT
            for piece in _pieces(run_id, batch):
                yield piece
            if batch and batch[-1].type in TERMINAL:
                yield done(run_id, batch[-1].seq + 1)
            del batch  # the first one can be the whole log, kept until the next


async def end_frames(run_id: uuid.UUID, seq: int) -> AsyncIterator[bytes]:
    """Yield the rest of a run for a reader that has its terminal event."""
    yield RETRY
    yield done(run_id, seq)


def _pieces(run_id: uuid.UUID, rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield frames, joined up to UNSENT_MAX_BYTES / 2; a larger frame stays alone."""
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
    """Return the HTTP response with ``chunks``. Its headers tell proxies not to buffer or change them."""
    stream = StreamingHttpResponse(chunks, content_type="text/event-stream; charset=utf-8")
    stream["Cache-Control"] = "private, no-store, no-transform"
    stream["X-Accel-Buffering"] = "no"
    return stream
