"""Measurement of one target in one round."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.figures import Figures, Traffic
from benchmarks.load import Reply, request
from benchmarks.plan import Plan, Shape
from benchmarks.processes import Cores, Process
from benchmarks.script import Script
from benchmarks.targets.base import Ask, Target
from benchmarks.targets.parley_server import REQUESTS, Parley

SETTLE_SECONDS = 0.5  # between the model holding every answer and the reading of the memory
HOLD_SECONDS = 60
SHORT = Script("", 2)
HELD = replace(SHORT, held=True)
IDLE = "idle"  # a talk whose run has readers
HISTORY = Script("", 10)
NEIGHBOURS = 2  # turns on each side of a reported turn: the CPU time of a single turn varies too much
WARM_UP_REQUESTS = 5


class Model:
    """The model's process, with its control requests."""

    def __init__(self, process: Process, port: int) -> None:
        self.process, self.port = process, port

    async def held(self) -> int:
        return int((await request(self.port, "GET", "/held")).body)

    async def release(self) -> None:
        await request(self.port, "POST", "/release")

    async def times(self) -> dict[str, list[float]]:
        """Return when each delta was written, by the key of the answer, since the last call."""
        found: dict[str, list[float]] = (await request(self.port, "GET", "/times")).json()
        return found


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions that were asked at the same time, and their replies."""

    asks: Sequence[Ask]
    scripts: Sequence[Script]
    replies: Sequence[Reply]

    @property
    def first_ms(self) -> list[float]:
        return [reply.first_ms for reply in self.replies if reply.first_ms is not None]


class Measurement:
    """Measurement of one target in one round. Call ``take``."""

    def __init__(self, target: Target, model: Model, plan: Plan, number: int) -> None:
        self._target, self._model, self._plan = target, model, plan
        self._number = number
        self.figures = Figures(target.name, number)

    async def take(self, cores: Cores) -> Figures:
        plan = self._plan
        async with self._target.serving(cores) as process:
            self._process = process
            for n in range(plan.warm_up):
                await self._ask([f"w{n}"], Script("", plan.small.deltas))
            await self._held_memory()
            await self._alone()
            for shape in plan.shapes:
                await self._together(shape.name, shape, plan.streams)
            for streams, step in plan.delay_steps.items():
                if step not in self.figures.traffic:
                    await self._together(step, plan.small, streams)
            await self._history()
            if isinstance(self._target, Parley):
                await self._requests(self._target)
        return self.figures

    async def _ask(self, keys: Sequence[str], like: Script, talk: str = "") -> Asked:
        """Ask one question for each key concurrently, each in its own talk or all in ``talk``."""
        scripts = [replace(like, key=f"{self._number}{key}") for key in keys]
        asks = [Ask(talk or script.key, script.question) for script in scripts]
        return Asked(asks, scripts, await self._target.ask_all(asks))

    async def _check(self, asked: Asked) -> int:
        """Record which replies were streamed or stored other than sent; return their number."""
        kept = await self._target.read_back(asked.asks, asked.replies)
        wrong: list[str] = []
        for script, reply, stored in zip(asked.scripts, asked.replies, kept, strict=True):
            if reply.status != 200:
                wrong.append(f"{script.key}: status {reply.status}")
            elif reply.text != script.answer or not reply.ended:
                error = f" ({reply.error})" if reply.error else ""
                wrong.append(f"{script.key}: {len(reply.text)} of {len(script.answer)} shown{error}")
            elif stored != script.answer:
                wrong.append(f"{script.key}: {len(stored or '')} of {len(script.answer)} kept")
        self.figures.asked += len(kept)
        self.figures.wrong += wrong
        return len(wrong)

    # --- the steps ----------------------------------------------------------------------------

    async def _held_memory(self) -> None:
        """Measure the growth of resident memory by streams that are held after their first delta."""
        keys = [f"h{n}" for n in range(self._plan.streams)]
        parley = self._target if isinstance(self._target, Parley) and self._plan.readers else None
        if parley:
            await self._ask(["i0"], SHORT, IDLE)
        before = self._process.resident_bytes()
        held = [asyncio.ensure_future(self._ask(keys, HELD))]
        await self._until_held(len(keys), held[0])
        self.figures.stream_kib = (self._process.resident_bytes() - before) / 1024 / len(keys)
        if parley:
            held.append(asyncio.ensure_future(self._ask(["i1"], HELD, IDLE)))
            await self._until_held(len(keys) + 1, held[1])
            await self._idle_memory(parley)
        await self._model.release()
        for asked in held:
            await self._check(await asked)

    async def _idle_memory(self, parley: Parley) -> None:
        """Measure the growth by readers of one held run. The other runs are held too: none frees memory."""
        before = self._process.resident_bytes()
        async with parley.followed(IDLE, self._plan.readers):
            await asyncio.sleep(SETTLE_SECONDS)
            self.figures.idle_kib = (self._process.resident_bytes() - before) / 1024 / self._plan.readers

    async def _until_held(self, number: int, waiting: "asyncio.Future[Asked]") -> None:
        deadline = time.monotonic() + HOLD_SECONDS
        while await self._model.held() < number:
            self._process.check_alive()
            if waiting.done() or time.monotonic() > deadline:
                break  # some were refused: the check reports it
            await asyncio.sleep(0.05)
        await asyncio.sleep(SETTLE_SECONDS)

    async def _alone(self) -> None:
        """Measure short turns, one after another. They are checked afterwards: reading back costs CPU too."""
        if not self._plan.alone:
            return
        before = self._process.cpu_seconds()
        turns = [await self._ask([f"a{n}"], SHORT) for n in range(self._plan.alone)]
        self.figures.short_ms = (self._process.cpu_seconds() - before) / len(turns) * 1000
        for asked in turns:
            await self._check(asked)
            self.figures.alone_ms += asked.first_ms

    async def _together(self, step: str, shape: Shape, streams: int) -> None:
        """Measure streams that are asked at the same time."""
        keys = [f"{step[0]}{n}x{streams}" for n in range(streams)]
        deltas = streams * shape.deltas
        began = time.monotonic()
        cpu, load = self._process.cpu_seconds(), self._load_seconds()
        asked = await self._ask(keys, Script("", shape.deltas, shape.pace_ms, size=shape.size))
        cpu, load = self._process.cpu_seconds() - cpu, self._load_seconds() - load
        load_share = load / (time.monotonic() - began)
        written = await self._model.times()
        delays = [
            delay
            for script, reply in zip(asked.scripts, asked.replies, strict=True)
            for delay in reply.delays_ms(written.get(script.key, []), script.size)
        ]
        self.figures.traffic[step] = Traffic(
            streams=streams,
            cpu_us=cpu / deltas * 1_000_000,
            shown=sum(len(reply.arrivals) for reply in asked.replies) / deltas,
            load_share=load_share,
            first_ms=asked.first_ms,
            delay_ms=delays,
            wrong=await self._check(asked),
        )

    def _load_seconds(self) -> float:
        return time.process_time() + self._model.process.cpu_seconds()

    async def _history(self) -> None:
        """Measure the CPU time of turns as the history of one talk grows."""
        spent: list[float] = []
        for n in range(max(self._plan.turns) + NEIGHBOURS if self._plan.turns else 0):
            before = self._process.cpu_seconds()
            asked = await self._ask([f"t{n}"], HISTORY, talk=f"{self._number}history")
            spent.append(self._process.cpu_seconds() - before)
        if spent:
            await self._check(asked)
        for turn in self._plan.turns:
            around = spent[max(0, turn - 1 - NEIGHBOURS) : turn + NEIGHBOURS]
            self.figures.turn_ms[turn] = statistics.median(around) * 1000

    async def _requests(self, parley: Parley) -> None:
        """Measure the CPU time of requests, one after another, in a talk of one short turn."""
        if not self._plan.requests:
            return
        talk = f"{self._number}requests"
        await self._check(await self._ask(["r0"], SHORT, talk))
        for kind in REQUESTS:
            for _ in range(WARM_UP_REQUESTS):
                await parley.get(kind, talk)
            before = self._process.cpu_seconds()
            for _ in range(self._plan.requests):
                await parley.get(kind, talk)
            spent = self._process.cpu_seconds() - before
            self.figures.request_ms[kind] = spent / self._plan.requests * 1000
