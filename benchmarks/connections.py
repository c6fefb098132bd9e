"""Cost of open streams and sockets of one server: ``python -m benchmarks.connections``.

    sockets    idle WebSockets: memory of one
    burst      readers follow one run, all opened at the same time: threads, seconds, memory of one
    hold       readers of it for minutes: lateness of heartbeats, response times of other requests

The model holds the answer after its first delta, so all readers wait. At the end each must get the same text.
Everything listens on loopback, and is removed at the end.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.load import request
from benchmarks.script import Script
from benchmarks.temporary_site import TemporarySite, temporary_site
from tests.support.sse_client import parse, text_of

Rows = list[tuple[str, str]]  # names and values of the table

HEARTBEAT_SECONDS = 15.0  # the server's default, set explicitly
HEARTBEAT = b": still here\n"
STARTED = b"event: run.started\n"
END = b"data: [DONE]\n\n\r\n0\r\n\r\n"  # the last chunks of a stream
MEMBERS = 50
HELD = Script("held", 4, held=True)
SHORT_DELTAS = 2
PATHS = {"list of conversations": "/api/v1/conversations", "page": "/chat/"}
ASK = "short ask"
WARM_UP = 10  # streams and sockets before the memory is measured
SOCKETS_AT_A_TIME = 100
RUN_SECONDS = 7200  # the run's limit, with which the benchmark ends at the latest
OPEN_SECONDS = 300  # then a connection counts as lost
SETTLE_SECONDS = 3.0
CLOSE_SECONDS = 5.0
ALONE_SECONDS = 30.0  # of other requests before the streams
IDLE_SECONDS = 10.0  # in which the CPU time of idle sockets is measured
END_SECONDS = 60.0  # for the end of all streams
SAMPLE_SECONDS = 0.003  # between two readings of the number of threads


# --- the client: one protocol object for each connection ----------------------------------------


class Connection(asyncio.Protocol):
    """Connection that sends ``head``, and is open when ``mark`` has arrived."""

    def __init__(self, head: bytes, mark: bytes) -> None:
        self._head, self._mark = head, mark
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self.is_open = self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._head)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def data_received(self, data: bytes) -> None:
        self._received += data
        self.is_open = self.is_open or self._mark in self._received

    def close(self) -> None:
        if self._transport:
            self._transport.abort()


class Stream(Connection):
    """Reader of a run. Adds to ``late_ms`` how late each heartbeat was after the frame before it."""

    def __init__(self, head: bytes, mark: bytes, late_ms: list[float]) -> None:
        super().__init__(head, mark)
        self._late_ms = late_ms
        self._last = 0.0

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if HEARTBEAT in data:
            self._late_ms.append(max(0.0, now - self._last - HEARTBEAT_SECONDS) * 1000)
        self._last = now
        super().data_received(data)

    @property
    def seconds_silent(self) -> float:
        return time.monotonic() - self._last

    @property
    def has_ended(self) -> bool:
        return self._received.endswith(END)

    def has_whole_answer(self, stored: bytes) -> bool:
        """Return whether its events are the stored ones, with the model's text."""
        events = parse(self._body())
        return self.has_ended and events == parse(stored) and text_of(events) == "".join(HELD.texts())

    def _body(self) -> bytes:
        rest = self._received.partition(b"\r\n\r\n")[2]
        pieces = []
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            pieces.append(rest[:length])
            rest = rest[length + 2 :]
        return b"".join(pieces)


async def open_all(port: int, connections: Sequence[Connection]) -> float:
    """Open all connections at the same time. Return the seconds until the last one was open."""
    loop = asyncio.get_running_loop()

    def protocol(connection: Connection) -> Callable[[], Connection]:
        return lambda: connection

    began = time.perf_counter()
    async with asyncio.timeout(OPEN_SECONDS):
        await asyncio.gather(
            *(loop.create_connection(protocol(each), "127.0.0.1", port) for each in connections)
        )
        while not all(each.is_open for each in connections):
            if lost := sum(each.lost for each in connections):
                raise RuntimeError(f"the server closed {lost} of {len(connections)} connections")
            await asyncio.sleep(0.01)
    return time.perf_counter() - began


def close_all(connections: Sequence[Connection]) -> None:
    for each in connections:
        each.close()


# --- the server and the model -------------------------------------------------------------------


class Site:
    """The measured server with its signed-in members, and the model behind it."""

    def __init__(self, served: TemporarySite) -> None:
        self.server, self.port = served.server, served.port
        self.members = len(served.keys)
        self._model_port = int(served.model_line)
        self._served = served
        self._conversations: dict[int, str] = {}

    def reader(self, run: str, late_ms: list[float]) -> Stream:
        """Return a reader of a run of member 0."""
        head = (
            f"GET /chat/runs/{run}/events HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Accept: text/event-stream\r\nCookie: {self._served.cookies(0)}\r\n\r\n"
        )
        return Stream(head.encode(), STARTED, late_ms)

    def socket(self, member: int) -> Connection:
        head = (
            f"GET /ws/ HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nOrigin: http://127.0.0.1:{self.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nCookie: {self._served.cookies(member)}\r\n\r\n"
        )
        return Connection(head.encode(), b" 101 ")

    async def ask_held(self) -> str:
        """Ask a question whose answer the model holds after its first delta. Return its run."""
        asking = asyncio.create_task(self._ask(0, HELD))
        async with asyncio.timeout(OPEN_SECONDS):
            while int((await request(self._model_port, "GET", "/held")).body) < 1:
                if asking.done():
                    raise RuntimeError(f"the held question ended: {asking.result()!r}")
                await asyncio.sleep(0.05)
        asking.cancel()  # the run goes on
        listed = json.loads(await self.get("/api/v1/conversations", 0))
        return str(listed["items"][0]["active_run"])

    async def release(self, run: str) -> bytes:
        """Let the model continue. Return the events of the run, which has ended then."""
        await request(self._model_port, "POST", "/release")
        return await self.get(f"/chat/runs/{run}/events", 0)

    async def ask_short(self, member: int, key: str) -> None:
        """Ask a short question in the member's conversation. Raises RuntimeError for a wrong answer."""
        script = Script(key, SHORT_DELTAS)
        events = parse(await self._ask(member, script))
        if not (events[-1].is_done and text_of(events) == "".join(script.texts())):
            raise RuntimeError(f"the question {key} was answered with {text_of(events)!r}")

    async def _ask(self, member: int, script: Script) -> bytes:
        body = {"query": script.question}
        if conversation := self._conversations.get(member):
            body["conversation"] = conversation
        answer = await request(
            self.port, "POST", "/chat/stream", headers=self._served.headers(member), body=body
        )
        if answer.status != 200:
            raise RuntimeError(f"a question was answered with {answer.status}")
        self._conversations.setdefault(member, parse(answer.body)[0].json()["conversation"])
        return answer.body

    async def get(self, path: str, member: int) -> bytes:
        answer = await request(self.port, "GET", path, headers=self._served.headers(member))
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered with {answer.status}")
        return answer.body


@asynccontextmanager
async def serving(engine: str) -> AsyncIterator[Site]:
    """Start a server with members, and a model that can hold its answers; remove all at the end."""
    async with temporary_site(
        engine,
        MEMBERS,
        model="benchmarks.gemini",
        model_env=lambda port: {
            "GOOGLE_API_KEY": "not-a-key",
            "GOOGLE_GEMINI_BASE_URL": f"http://127.0.0.1:{int(port)}",
        },
        RUN_SECONDS=str(RUN_SECONDS),
        SILENCE_SECONDS=str(RUN_SECONDS - 1),
        STREAM_HEARTBEAT_SECONDS=f"{HEARTBEAT_SECONDS:g}",
    ) as served:
        yield Site(served)


def number_of_threads(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("Threads:")[2].split(maxsplit=1)[0])


@contextmanager
def peak_of_threads(pid: int) -> Iterator[list[int]]:
    """Yield a list that has, after the block, the largest number of threads of the process."""
    seen, done = [number_of_threads(pid)], threading.Event()

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            seen[0] = max(seen[0], number_of_threads(pid))

    sampling = threading.Thread(target=sample)
    sampling.start()
    try:
        yield seen
    finally:
        done.set()
        sampling.join()


# --- the measurements ---------------------------------------------------------------------------


async def settled_bytes(site: Site) -> int:
    """Return the server's resident memory after a pause."""
    await asyncio.sleep(SETTLE_SECONDS)
    return site.server.resident_bytes()


async def warm_up(site: Site, run: str) -> None:
    """Ask, read and open sockets, so that what is loaded once is not counted as memory of a connection."""
    for n in range(3):
        await site.ask_short(1, f"warm-up-{n}")
        for path in PATHS.values():
            await site.get(path, 1)
    some: list[Connection] = [site.reader(run, []) for _ in range(WARM_UP)]
    some += [site.socket(n % site.members) for n in range(WARM_UP)]
    await open_all(site.port, some)
    close_all(some)
    await asyncio.sleep(CLOSE_SECONDS)


async def burst(site: Site, run: str, count: int) -> Rows:
    """Measure readers that all open at the same time."""
    before = await settled_bytes(site)
    streams = [site.reader(run, []) for _ in range(count)]
    cpu = site.server.cpu_seconds()
    with peak_of_threads(site.server.pid) as peak:
        seconds = await open_all(site.port, streams)
    cpu = site.server.cpu_seconds() - cpu
    opened = await settled_bytes(site)
    close_all(streams)
    await asyncio.sleep(CLOSE_SECONDS)
    return [
        (f"{count} streams in a burst: most threads", f"{peak[0]}"),
        ("seconds until each had its first event", f"{seconds:.2f}"),
        ("server CPU to open one, ms", f"{cpu / count * 1000:.2f}"),
        ("KiB a stream", f"{(opened - before) / count / 1024:.1f}"),
        ("MiB before, open, closed", _mebibytes(before, opened, site.server.resident_bytes())),
    ]


async def hold(site: Site, run: str, count: int, minutes: float) -> Rows:
    """Measure many readers for some minutes, beside other requests; then let the run end."""
    late_ms: list[float] = []
    alone = await ask_each_second(site, ALONE_SECONDS)
    before = await settled_bytes(site)
    streams = [site.reader(run, late_ms) for _ in range(count)]
    with peak_of_threads(site.server.pid) as peak:
        seconds = await open_all(site.port, streams)
        opening_late_ms = late_ms.copy()
        late_ms.clear()  # the streams have a reference to it
        opened = await settled_bytes(site)
        cpu, began = site.server.cpu_seconds(), time.monotonic()
        times = await ask_each_second(site, minutes * 60)
        cpu = (site.server.cpu_seconds() - cpu) / (time.monotonic() - began)
    silent = max(each.seconds_silent for each in streams)
    events = await site.release(run)
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        if all(each.has_ended or each.lost for each in streams):
            break
        await asyncio.sleep(0.1)
    whole = sum(each.has_whole_answer(events) for each in streams)
    close_all(streams)
    rows = [
        (f"{count} streams for {minutes:g} min: most threads", f"{peak[0]}"),
        ("seconds until each had its first event", f"{seconds:.2f}"),
        ("KiB a stream", f"{(opened - before) / count / 1024:.1f}"),
        ("server CPU meanwhile, of a core", f"{cpu:.0%}"),
        (f"heartbeats late by, ms: p50, p99, max ({len(late_ms)})", _percentiles(late_ms, 0.5, 0.99, 1)),
        (
            f"while the streams opened ({len(opening_late_ms)})",
            _percentiles(opening_late_ms, 0.5, 0.99, 1),
        ),
        ("longest silence at the end, s", f"{silent:.1f}"),
    ]
    rows += [
        (f"{name}, ms: p50, p95, p99 ({len(measured)}){when}", _percentiles(measured, 0.5, 0.95, 0.99))
        for when, all_measured in ((", before the streams", alone), ("", times))
        for name, measured in all_measured.items()
    ]
    return [*rows, ("streams with the whole text and [DONE]", f"{whole} of {count}")]


async def ask_each_second(site: Site, seconds: float) -> dict[str, list[float]]:
    """Send each kind of request each second. Return their response times in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in (*PATHS, ASK)}
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        began = time.monotonic()
        number += 1
        for name, measured in times.items():
            member = 1 + number % (site.members - 1)
            sent = time.perf_counter()
            if name == ASK:
                await site.ask_short(member, f"short-{number}")
            else:
                await site.get(PATHS[name], member)
            measured.append((time.perf_counter() - sent) * 1000)
        await asyncio.sleep(max(0, began + 1 - time.monotonic()))
    return times


async def sockets(site: Site, count: int) -> Rows:
    """Measure idle sockets of all members."""
    before = await settled_bytes(site)
    opened = [site.socket(n % site.members) for n in range(count)]
    seconds = 0.0
    with peak_of_threads(site.server.pid) as peak:
        for first in range(0, count, SOCKETS_AT_A_TIME):  # the server closes a handshake after 5 s
            seconds += await open_all(site.port, opened[first : first + SOCKETS_AT_A_TIME])
    after = await settled_bytes(site)
    cpu, began = site.server.cpu_seconds(), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    cpu = (site.server.cpu_seconds() - cpu) / (time.monotonic() - began)
    lost = sum(each.lost for each in opened)
    close_all(opened)
    await asyncio.sleep(CLOSE_SECONDS)
    return [
        (f"{count} sockets: most threads", f"{peak[0]}"),
        ("seconds until each was open", f"{seconds:.2f}"),
        ("KiB a socket", f"{(after - before) / count / 1024:.1f}"),
        ("server CPU meanwhile, of a core", f"{cpu:.0%}"),
        ("lost", f"{lost}"),
        ("MiB before, open, closed", _mebibytes(before, after, site.server.resident_bytes())),
    ]


def _percentiles(values: Sequence[float], *shares: float) -> str:
    if not values:
        return "-"
    ordered = sorted(values)
    return ", ".join(f"{ordered[min(len(ordered) - 1, int(len(ordered) * share))]:.0f}" for share in shares)


def _mebibytes(*values: int) -> str:
    return ", ".join(f"{value / 1024 / 1024:.0f}" for value in values)


async def measure(options: argparse.Namespace) -> Rows:
    rows: Rows = [("load average at the start", f"{os.getloadavg()[0]:.1f}")]
    parts: list[Callable[[Site, str], Coroutine[Any, Any, Rows]]] = []
    if options.sockets:
        parts.append(lambda site, run: sockets(site, options.sockets))
    if options.burst:
        parts.append(lambda site, run: burst(site, run, options.burst))
    if options.streams and options.minutes:
        parts.append(lambda site, run: hold(site, run, options.streams, options.minutes))
    for part in parts:
        # A server for each part: memory that one part has freed would be used again by the next.
        async with serving(options.engine) as site:
            run = await site.ask_held()
            await warm_up(site, run)
            rows += await part(site, run)
    return [*rows, ("load average at the end", f"{os.getloadavg()[0]:.1f}")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.connections", description=__doc__)
    parser.add_argument("--streams", type=int, default=2000, help="held for --minutes; 0: skip")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--sockets", type=int, default=2000, help="0: skip")
    parser.add_argument("--burst", type=int, default=500, help="streams opened at the same time; 0: skip")
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the server inherits it
    rows = asyncio.run(measure(options))
    heading = [("measured", options.engine), ("---", "---")]
    sys.stdout.write("".join(f"| {name} | {value} |\n" for name, value in [*heading, *rows]))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # the exit status that shells give a command ended by Ctrl-C
