"""Load generator: a minimal HTTP client on asyncio streams, cheap beside what it measures."""

import asyncio
import bisect
import itertools
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.sse_client import SseEvent, SseParser

STREAM_SECONDS = 120  # then a response counts as lost

# Times of the monotonic clock, which all processes share, each with the characters of text shown until then.
Arrivals = Sequence[tuple[float, int]]


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply to one question. ``kept`` is the stored text that was read back, None if none was."""

    began: float  # when the question was asked, before the connection opened
    arrivals: Arrivals
    text: str
    ended: bool  # with the expected last event
    kept: str | None = None
    status: int = 200
    error: str = ""  # the server's own word

    @property
    def first_ms(self) -> float | None:
        """Milliseconds until the first text; None if none came."""
        return (self.arrivals[0][0] - self.began) * 1000 if self.arrivals else None

    def delays_ms(self, written: Sequence[float], size: int) -> list[float]:
        """Return the time from the model's write of each delta to the arrival of its last character."""
        ends = [characters for _, characters in self.arrivals]
        at = [bisect.bisect_left(ends, (n + 1) * size) for n in range(len(written))]
        return [
            (self.arrivals[n][0] - began) * 1000
            for n, began in zip(at, written, strict=True)
            if n < len(self.arrivals)
        ]


def arrivals_of(texts: Iterable[tuple[float, str]]) -> Arrivals:
    """Return the arrivals of texts that follow each other."""
    found: list[tuple[float, int]] = []
    characters = 0
    for at, text in texts:
        characters += len(text)
        found.append((at, characters))
    return found


@dataclass(frozen=True, slots=True)
class Response:
    """Response whose body is in parts, each with the time of its arrival. Its status is 0 if none came."""

    began: float
    status: int
    parts: Sequence[tuple[float, bytes]]

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.parts)

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> Iterator[tuple[float, SseEvent]]:
        """Yield the events of a stream, each with the time of its arrival."""
        parser = SseParser()
        for at, data in self.parts:
            for event in parser.feed(data.replace(b"\r\n", b"\n")):
                yield at, event


async def request(
    port: int, method: str, path: str, *, headers: dict[str, str] | None = None, body: Any = None
) -> Response:
    """Send one request on its own connection and read the whole response.

    While it arrives, only the times are noted; parsing happens afterwards. A response that is refused, cut
    or late is returned as far as it came.
    """
    began = time.monotonic()
    received: list[tuple[float, bytes]] = []
    try:
        async with asyncio.timeout(STREAM_SECONDS):
            reader, writer = await open_request(port, method, path, headers=headers, body=body)
            try:
                while piece := await reader.read(65536):
                    received.append((time.monotonic(), piece))
            finally:
                writer.close()
    except (OSError, TimeoutError):
        pass
    return response_of(began, received)


async def open_request(
    port: int, method: str, path: str, *, headers: dict[str, str] | None = None, body: Any = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send one request on its own connection, whose response is to be read."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join([*lines, "", ""]).encode() + data)
    return reader, writer


def response_of(began: float, received: Sequence[tuple[float, bytes]]) -> Response:
    """Return the response in the received pieces, each with its time."""
    raw = b"".join(piece for _, piece in received)
    head, found, rest = raw.partition(b"\r\n\r\n")
    if not found:
        return Response(began, 0, [])
    ends: list[int] = []
    for _, piece in received:
        ends.append((ends[-1] if ends else 0) + len(piece))

    def arrived(end: int) -> float:
        return received[bisect.bisect_left(ends, end)][0]

    start = len(head) + len(found)
    if b"transfer-encoding: chunked" in head.lower():
        parts = [(arrived(start + end), chunk) for end, chunk in _chunks(rest)]
    else:
        first = bisect.bisect_right(ends, start)
        cuts = [start, *ends[first:]]
        parts = [(arrived(end), raw[begin:end]) for begin, end in itertools.pairwise(cuts)]
    return Response(began, int(head.split(b" ", 2)[1]), parts)


def _chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the complete chunks of a body, each with the position of its end."""
    at = 0
    while (line := data.find(b"\r\n", at)) > 0:
        begin = line + 2
        end = begin + int(data[at:line], 16)
        if end > len(data) or end == begin:
            return
        yield end, data[begin:end]
        at = end + 2
