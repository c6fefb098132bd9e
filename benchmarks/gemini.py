"""Fake model: Gemini's ``streamGenerateContent?alt=sse`` on an asyncio protocol, in its own process.

Each answer is encoded in full when it is requested, so a delta costs only a timer and a write (about
10 µs), and the load stays small beside what is measured. ``tests/support/gemini.py`` implements the same API
for scripted answers; a delta costs ten times as much there.

``GET /held`` returns how many answers are held, ``POST /release`` continues them. ``GET /times`` returns when
each delta of the paced answers since the last such request was written, by the monotonic clock, which all
processes of a machine share.
"""

import asyncio
import json
import sys
import time
from typing import Any

from benchmarks.script import Script

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
USAGE = {"promptTokenCount": 12, "candidatesTokenCount": 600, "totalTokenCount": 612}

_held: "set[Connection]" = set()
_times: dict[str, list[float]] = {}


class Connection(asyncio.Protocol):
    """Connection of a client, which may send many requests."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""
        self._chunks: list[bytes] = []
        self._script = Script("", 0)
        self._times: list[float] = []
        self._next = 0
        self._began = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        _held.discard(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        method, path = head.split(b" ", 2)[:2]
        length = _content_length(head)
        if len(rest) < length:
            return
        self._received = rest[length:]
        if path == b"/held":
            self._respond(str(len(_held)).encode())
        elif path == b"/release":
            self._respond(str(release()).encode())
        elif path == b"/times":
            self._respond(json.dumps(_times).encode())
            _times.clear()
        elif b":streamGenerateContent" in path:
            self._answer(rest[:length])
        else:
            sys.exit(f"The model got an unknown request: {method.decode()} {path.decode()}.")

    def _respond(self, body: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        self._transport.close()

    def _answer(self, body: bytes) -> None:
        self._script = Script.of(_newest_question(body))
        self._chunks = _encoded(self._script)
        self._times = []
        if self._script.pace_ms:
            _times[self._script.key] = self._times
        self._next, self._began = 0, asyncio.get_running_loop().time()
        self._transport.write(HEAD)
        self._step()

    def _step(self) -> None:
        if self._transport.is_closing():
            return
        self._times.append(time.monotonic())
        self._transport.write(self._chunks[self._next])
        self._next += 1
        if self._script.held and self._next == 1:
            _held.add(self)
        elif self._next < len(self._chunks):
            self.send_rest()

    def send_rest(self) -> None:
        """Send the remaining deltas, each at its time after the start of the answer, or all in one write."""
        if self._script.pace_ms:
            due = self._began + self._next * self._script.pace_ms / 1000
            asyncio.get_running_loop().call_at(due, self._step)
        else:
            self._transport.write(b"".join(self._chunks[self._next :]))


def release() -> int:
    """Continue the held answers; return how many there were."""
    held = list(_held)
    _held.clear()
    for connection in held:
        connection.send_rest()
    return len(held)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _newest_question(body: bytes) -> str:
    newest = json.loads(body)["contents"][-1]
    return "".join(part.get("text", "") for part in newest["parts"])


def _encoded(script: Script) -> list[bytes]:
    """Return the encoded deltas of the answer; the last one ends it."""
    chunks = [_chunk(text) for text in script.texts()[:-1]]
    return [*chunks, _chunk(script.texts()[-1], is_last=True) + END]


def _chunk(text: str, *, is_last: bool = False) -> bytes:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    last = {"finishReason": "STOP"} if is_last else {}
    value: dict[str, Any] = {
        "candidates": [candidate | last],
        "modelVersion": "bench",
        "responseId": "bench-1",
    }
    if is_last:
        value["usageMetadata"] = USAGE
    data = b"data: " + json.dumps(value).encode() + b"\r\n\r\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


async def serve() -> None:
    """Serve on a free loopback port, and write its number to stdout."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
