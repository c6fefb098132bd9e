"""Measurement of one target in one round: memory, first tokens, CPU time a delta, growth with history."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.load import Reply, request
from benchmarks.processes import Cores, Process
from benchmarks.script import Script
from benchmarks.targets import Ask, Target

SETTLE_SECONDS = 0.5  # between the model holding every answer and the reading of the memory
HOLD_SECONDS = 60
HISTORY_DELTAS = 10
NEIGHBOURS = 2  # turns on each side of a reported turn: the CPU time of a single turn varies too much


@dataclass(frozen=True, slots=True)
class Plan:
    """Amounts of a round. With the defaults, three rounds fit into eight minutes."""

    streams: int = 50
    deltas: int = 100
    pace_ms: int = 50
    alone: int = 10  # questions asked one after another
    turns: tuple[int, ...] = (5, 50, 190)  # whose CPU time is reported
    warm_up: int = 5


@dataclass(slots=True)
class Figures:
    """Results of one target in one round. Times to the first token are in milliseconds."""

    name: str
    round: int
    cpu_us: float = 0.0  # user and system time of the process, for each delta of the model
    stream_kib: float = 0.0
    alone_ms: list[float] = field(default_factory=list)
    together_ms: list[float] = field(default_factory=list)
    shown: float = 0.0  # events with text that a client received, for each delta of the model
    turn_ms: dict[int, float] = field(default_factory=dict)  # CPU time of one turn, by its number
    load_share: float = 0.0  # of a core, used by model and load together while CPU time was measured
    asked: int = 0
    wrong: list[str] = field(
        default_factory=list
    )  # replies whose streamed or stored text differs from the model's


class Model:
    """The model's process, with its control requests."""

    def __init__(self, process: Process, port: int) -> None:
        self.process, self.port = process, port

    async def held(self) -> int:
        return int((await request(self.port, "GET", "/held")).body)

    async def release(self) -> None:
        await request(self.port, "POST", "/release")


class Measurement:
    """Measurement of one target in one round. Call ``take``."""

    def __init__(self, target: Target, model: Model, plan: Plan, number: int) -> None:
        self._target, self._model, self._plan = target, model, plan
        self._number = number
        self.figures = Figures(target.name, number)

    async def take(self, cores: Cores) -> Figures:
        async with self._target.serving(cores) as process:
            for n in range(self._plan.warm_up):
                await self._ask([f"w{n}"], Script("", self._plan.deltas))
            await self._memory(process)
            await self._alone()
            await self._together(process)
            await self._history(process)
        return self.figures

    async def _ask(self, keys: Sequence[str], like: Script, talk: str = "") -> list[Reply]:
        """Ask one question for each key concurrently, each in its own talk or all in ``talk``."""
        scripts = [Script(f"{self._number}{key}", like.deltas, like.pace_ms, like.held) for key in keys]
        asks = [Ask(talk or script.key, script.question) for script in scripts]
        replies = await self._target.ask_all(asks)
        self._asks, self._scripts, self._replies = asks, scripts, replies
        return replies

    async def _check(self) -> None:
        """Record which of the last replies were streamed or stored other than sent, or did not end."""
        kept = await self._target.read_back(self._asks, self._replies)
        for script, reply, stored in zip(self._scripts, self._replies, kept, strict=True):
            self.figures.asked += 1
            if reply.status != 200:
                self.figures.wrong.append(f"{script.key}: status {reply.status}")
            elif reply.text != script.answer or not reply.ended:
                self.figures.wrong.append(f"{script.key}: {len(reply.text)} of {len(script.answer)} shown")
            elif stored != script.answer:
                self.figures.wrong.append(f"{script.key}: {len(stored or '')} of {len(script.answer)} kept")

    # --- the steps ----------------------------------------------------------------------------

    async def _memory(self, process: Process) -> None:
        """Measure the growth of resident memory by streams that are held after their first delta."""
        keys = [f"h{n}" for n in range(self._plan.streams)]
        before = process.resident_bytes()
        waiting = asyncio.ensure_future(self._ask(keys, Script("", 2, held=True)))
        deadline = time.monotonic() + HOLD_SECONDS
        while await self._model.held() < len(keys):
            process.check_alive()
            if waiting.done() or time.monotonic() > deadline:
                break  # some were refused: the check below reports it
            await asyncio.sleep(0.05)
        await asyncio.sleep(SETTLE_SECONDS)
        self.figures.stream_kib = (process.resident_bytes() - before) / 1024 / len(keys)
        await self._model.release()
        await waiting
        await self._check()

    async def _alone(self) -> None:
        for n in range(self._plan.alone):
            replies = await self._ask([f"a{n}"], Script("", 2))
            await self._check()
            self.figures.alone_ms.append(replies[0].first_ms)

    async def _together(self, process: Process) -> None:
        keys = [f"s{n}" for n in range(self._plan.streams)]
        deltas = len(keys) * self._plan.deltas
        began = time.perf_counter()
        cpu, load = process.cpu_seconds(), self._load_seconds()
        replies = await self._ask(keys, Script("", self._plan.deltas, self._plan.pace_ms))
        cpu, load = process.cpu_seconds() - cpu, self._load_seconds() - load
        self.figures.load_share = load / (time.perf_counter() - began)
        self.figures.cpu_us = cpu / deltas * 1_000_000
        self.figures.together_ms = [reply.first_ms for reply in replies]
        self.figures.shown = sum(reply.deltas for reply in replies) / deltas
        await self._check()

    def _load_seconds(self) -> float:
        return time.process_time() + self._model.process.cpu_seconds()

    async def _history(self, process: Process) -> None:
        """Measure the CPU time of turns as the history of one talk grows."""
        spent: list[float] = []
        for n in range(max(self._plan.turns, default=0) + NEIGHBOURS if self._plan.turns else 0):
            before = process.cpu_seconds()
            await self._ask([f"t{n}"], Script("", HISTORY_DELTAS), talk=f"{self._number}history")
            spent.append(process.cpu_seconds() - before)
        if spent:
            await self._check()
        for turn in self._plan.turns:
            around = spent[max(0, turn - 1 - NEIGHBOURS) : turn + NEIGHBOURS]
            self.figures.turn_ms[turn] = statistics.median(around) * 1000
