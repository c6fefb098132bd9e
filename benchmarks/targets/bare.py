"""Bare Runner, the baseline of the other targets."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.load import Reply
from benchmarks.processes import Cores, Process
from benchmarks.targets.base import Ask, model_env


class BareRunner:
    """ADK's Runner alone, in Parley's environment."""

    name = "bare Runner"
    must_be_exact = True

    def __init__(self, folder: Path, model_port: int) -> None:
        self._folder, self._env = folder, model_env(model_port)

    def set_up(self) -> None:
        self._folder.mkdir()

    @asynccontextmanager
    async def serving(self, cores: Cores) -> AsyncIterator[Process]:
        self._process = Process(["-m", "benchmarks.bare"], self._folder / "log", **self._env)
        with cores.for_measured():
            await self._process.start()
        try:
            await self._process.line()
            yield self._process
        finally:
            await self._process.stop()

    async def ask_all(self, asks: Sequence[Ask]) -> list[Reply]:
        line = await self._process.request(json.dumps([[ask.talk, ask.question] for ask in asks]))
        return [Reply(ended=True, **answer) for answer in json.loads(line)]

    async def read_back(self, asks: Sequence[Ask], replies: Sequence[Reply]) -> list[str | None]:
        return [reply.kept for reply in replies]
