"""The load: HTTP by hand on asyncio streams, so that it costs little beside what it measures."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

STREAM_SECONDS = 120  # after which an answer is taken for lost


@dataclass(frozen=True, slots=True)
class Reply:
    """What one question got. ``kept`` is what was read back afterwards, None where nothing was."""

    first_ms: float
    text: str
    deltas: int  # events that carried the text
    ended: bool  # with the mark that it should end with
    kept: str | None = None
    status: int = 200


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes
    first_ms: float  # until the first body byte that holds ``mark``; the whole answer without one

    def json(self) -> Any:
        return json.loads(self.body)


async def request(
    port: int,
    method: str,
    path: str,
    *,
    headers: dict[str, str] | None = None,
    body: Any = None,
    mark: bytes = b"",
) -> Response:
    """One request on a connection of its own, read to its end. The clock starts before it connects.

    Nothing is parsed while the answer comes, save for the first ``mark``: that is for afterwards.
    """
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    began, first = time.perf_counter(), None
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received: list[bytes] = []
    try:
        async with asyncio.timeout(STREAM_SECONDS):
            writer.write("\r\n".join([*lines, "", ""]).encode() + data)
            while piece := await reader.read(65536):
                received.append(piece)
                if first is None and mark and mark in b"".join(received):
                    first = time.perf_counter()
    finally:
        writer.close()
    head, _, rest = b"".join(received).partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        rest = _unchunked(rest)
    elapsed = (first or time.perf_counter()) - began
    return Response(int(head.split(b" ", 2)[1]), rest, elapsed * 1000)


def _unchunked(data: bytes) -> bytes:
    """The body of a chunked answer; of a broken one as much as there is."""
    pieces = []
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        pieces.append(data[:length])
        data = data[length + 2 :]
    return b"".join(pieces)
