"""Interface of the targets, and what several of them use."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from benchmarks.load import Reply, request
from benchmarks.processes import Cores, Process

KEY = "not-a-key"
READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Ask:
    """A question in a talk. The first question of a talk creates it."""

    talk: str
    question: str


class Target(Protocol):
    """A process that answers. With ``must_be_exact``, a wrong reply makes the benchmark fail."""

    name: str
    must_be_exact: bool

    def set_up(self) -> None:
        """Prepare once for all starts."""

    def serving(self, cores: Cores) -> AbstractAsyncContextManager[Process]:
        """Return a context manager that starts a new Process, yields it and stops it."""

    async def ask_all(self, asks: Sequence[Ask]) -> list[Reply]:
        """Ask all questions concurrently; return when all are answered."""

    async def read_back(self, asks: Sequence[Ask], replies: Sequence[Reply]) -> list[str | None]:
        """Return the newest stored reply of each talk."""


@asynccontextmanager
async def started(process: Process, cores: Cores, port: int, path: str) -> AsyncIterator[Process]:
    """Run a server on the measured core; yield it when it responds to ``path``."""
    with cores.for_measured():
        await process.start()
    try:
        await _respond(process, port, path)
        yield process
    finally:
        await process.stop()


async def _respond(process: Process, port: int, path: str) -> None:
    """Wait until the server responds with 200. Raises RuntimeError if it ends or takes too long."""
    for _ in range(READY_SECONDS * 20):
        process.check_alive()
        if (await request(port, "GET", path)).status == 200:
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"{path} did not respond with 200 within {READY_SECONDS} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def model_env(model_port: int) -> dict[str, str]:
    return {"GOOGLE_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": f"http://127.0.0.1:{model_port}"}
