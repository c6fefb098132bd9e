"""Calls at the same time on one server: ``python -m benchmarks.calls``.

Each member's page sends a microphone's silence in real time, and types a question whenever an answer has
ended. Measured are the time that a piece of sound takes from the model to the page, written streams beside
the calls, with and without them, the memory of a call, and the server's CPU time. Everything listens on
loopback, and is removed at the end.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from benchmarks.connections import Rows
from benchmarks.load import request
from benchmarks.temporary_site import TemporarySite, temporary_site
from benchmarks.voice import sent_at
from tests.support.sse_client import parse

LIVE_MODEL = "gemini-2.5-flash-native-audio-preview-12-2025"
FRAME = bytes(1280)  # 40 ms of a silent microphone, as the page sends them
FRAME_SECONDS = 0.04
OPENED_AT_A_TIME = 5
OPEN_SECONDS = 60
SETTLE_SECONDS = 3.0
WARM_UP_SECONDS = 12.0  # more than one answer, before anything is measured
WRITTEN_PAUSE = 0.5  # between two written questions of one member


@dataclass
class Measured:
    """Numbers of all calls."""

    delays_ms: list[float] = field(default_factory=list)
    turns: int = 0
    closed: list[int] = field(default_factory=list)  # codes of sockets that the server closed


class Site:
    """The measured server with its members, who write and call."""

    def __init__(self, served: TemporarySite) -> None:
        self.server, self.port = served.server, served.port
        self.members = len(served.keys)
        self._served = served

    async def write(self, member: int, conversation: str | None = None) -> tuple[str, float]:
        """Ask in writing; return the conversation, and the seconds until the whole answer was there."""
        body = {"query": "write", **({"conversation": conversation} if conversation else {})}
        began = time.perf_counter()
        answer = await request(
            self.port, "POST", "/chat/stream", headers=self._served.headers(member), body=body
        )
        seconds = time.perf_counter() - began
        if answer.status != 200:
            raise RuntimeError(f"a written question was answered with {answer.status}: {answer.body!r}")
        events = parse(answer.body)
        if events[-2].name != "run.completed":
            raise RuntimeError(f"a written answer ended with {events[-2]}")
        return events[0].json()["conversation"], seconds

    def call(self, member: int, conversation: str) -> connect:
        host = f"127.0.0.1:{self.port}"
        return connect(
            f"ws://{host}/ws/live/{conversation}/",
            origin=Origin(f"http://{host}"),
            additional_headers={"Cookie": self._served.cookies(member)},
            compression=None,
        )


@asynccontextmanager
async def serving(engine: str, members: int) -> AsyncIterator[Site]:
    """Start a server with members, and a model that speaks and writes; remove all at the end."""
    async with temporary_site(
        engine, members, model="benchmarks.voice", model_env=json.loads, LIVE_MODEL=LIVE_MODEL
    ) as served:
        yield Site(served)


# --- calls ----------------------------------------------------------------------------------------


async def hold_call(site: Site, member: int, measured: Measured, is_open: asyncio.Event) -> None:
    """Hold a call until it is cancelled."""
    conversation, _seconds = await site.write(member)
    async with site.call(member, conversation) as page:
        ready = json.loads(await page.recv())
        assert ready["type"] == "ready", ready
        await page.send(json.dumps({"type": "text", "text": "speak"}))
        is_open.set()
        microphone = asyncio.create_task(send_silence(page))
        try:
            async for frame in page:
                now = time.monotonic()
                if isinstance(frame, bytes):
                    if (sent := sent_at(frame)) is not None:
                        measured.delays_ms.append((now - sent) * 1000)
                elif json.loads(frame)["type"] == "turn":
                    measured.turns += 1
                    await page.send(json.dumps({"type": "text", "text": "speak"}))
        finally:
            microphone.cancel()
        measured.closed.append(page.close_code or 0)


async def send_silence(page: ClientConnection) -> None:
    due = time.monotonic()
    while True:
        await page.send(FRAME)
        due += FRAME_SECONDS
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def write_for(site: Site, members: range, seconds: float) -> list[float]:
    """Let members write for some time, each without a pause; return the seconds of each answer."""
    found: list[float] = []
    until = time.monotonic() + seconds

    async def write(member: int) -> None:
        conversation: str | None = None
        while time.monotonic() < until:
            conversation, took = await site.write(member, conversation)
            found.append(took)
            await asyncio.sleep(WRITTEN_PAUSE)

    await asyncio.gather(*(write(member) for member in members))
    return found


async def measure(options: argparse.Namespace) -> Rows:
    load = os.getloadavg()[0]
    async with serving(options.engine, options.calls + options.written + 1) as site:
        callers = range(options.calls)
        writers = range(options.calls, options.calls + options.written)
        measured = Measured()
        # What is loaded once, by the first call and the first answers, is not the memory of a call.
        warm = await open_calls(site, range(options.calls + options.written, site.members), Measured())
        await asyncio.sleep(WARM_UP_SECONDS)
        await end(warm)
        alone = await write_for(site, writers, options.seconds / 2)
        await asyncio.sleep(SETTLE_SECONDS)
        before = site.server.resident_bytes()
        calls = await open_calls(site, callers, measured)
        await asyncio.sleep(WARM_UP_SECONDS)
        measured.delays_ms.clear()
        cpu, began = site.server.cpu_seconds(), time.monotonic()
        beside = await write_for(site, writers, options.seconds)
        cpu = (site.server.cpu_seconds() - cpu) / (time.monotonic() - began)
        after = site.server.resident_bytes()
        for call in calls:
            if call.done():
                call.result()  # raises what ended it
        await end(calls)
    return [
        ("load average at the start, at the end", f"{load:.1f}, {os.getloadavg()[0]:.1f}"),
        (f"{options.calls} calls for {options.seconds:g} s: turns", f"{measured.turns}"),
        (
            f"a piece of sound from the model to the page, ms: p50, p95, p99 ({len(measured.delays_ms)})",
            ", ".join(f"{percentile(measured.delays_ms, share):.1f}" for share in (0.5, 0.95, 0.99)),
        ),
        (f"written answers alone, s: p50, p95 ({len(alone)})", both(alone)),
        (f"written answers beside the calls, s: p50, p95 ({len(beside)})", both(beside)),
        ("KiB a call", f"{(after - before) / max(1, options.calls) / 1024:.0f}"),
        ("server CPU meanwhile, of a core", f"{cpu:.0%}"),
        ("calls that the server closed", f"{len(measured.closed)}"),
    ]


async def open_calls(site: Site, members: range, measured: Measured) -> "list[asyncio.Task[None]]":
    """Open a call of each member, a few at a time."""
    calls: list[asyncio.Task[None]] = []
    for first in range(members.start, members.stop, OPENED_AT_A_TIME):
        opened: list[asyncio.Event] = []
        for member in range(first, min(first + OPENED_AT_A_TIME, members.stop)):
            opened.append(asyncio.Event())
            calls.append(asyncio.create_task(hold_call(site, member, measured, opened[-1])))
        all_open = asyncio.gather(*(each.wait() for each in opened))
        ends: list[asyncio.Future[Any]] = [all_open, *calls]  # a call only ends by an error
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=OPEN_SECONDS)
        for call in calls:
            if call.done():
                call.result()
    return calls


async def end(calls: "list[asyncio.Task[None]]") -> None:
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def both(values: list[float]) -> str:
    return f"{percentile(values, 0.5):.2f}, {percentile(values, 0.95):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--written", type=int, default=5, help="members who write meanwhile")
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    rows = asyncio.run(measure(options))
    heading = [("measured", options.engine), ("---", "---")]
    sys.stdout.write("".join(f"| {name} | {value} |\n" for name, value in [*heading, *rows]))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # the exit status that shells give a command ended by Ctrl-C
