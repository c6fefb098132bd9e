"""Load generator: a minimal HTTP client on asyncio streams, cheap beside what it measures."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

STREAM_SECONDS = 120  # then a response counts as lost


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply to one question. ``kept`` is the stored text that was read back, None if none was."""

    first_ms: float
    text: str
    deltas: int  # events that carried the text
    ended: bool  # with the expected last event
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
    """Send one request on its own connection and read the whole response.

    The clock starts before the connection opens. While the response arrives, it is only searched for the
    first ``mark``; parsing happens afterwards.
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
    """Return the body of a chunked response; of a broken one, the part that arrived."""
    pieces = []
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        pieces.append(data[:length])
        data = data[length + 2 :]
    return b"".join(pieces)
