"""Measurement of one target in one round."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

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
                await self._idle_memory(self._target)
                await self._requests(self._target)
        return self.figures

    async def _ask(self, keys: Sequence[str], like: Script, talk: str = "") -> list[Reply]:
        """Ask one question for each key concurrently, each in its own talk or all in ``talk``."""
        scripts = [replace(like, key=f"{self._number}{key}") for key in keys]
        asks = [Ask(talk or script.key, script.question) for script in scripts]
        replies = await self._target.ask_all(asks)
        self._asks, self._scripts, self._replies = asks, scripts, replies
        return replies

    async def _check(self) -> int:
        """Record which of the last replies were streamed or stored other than sent; return their number."""
        kept = await self._target.read_back(self._asks, self._replies)
        wrong: list[str] = []
        for script, reply, stored in zip(self._scripts, self._replies, kept, strict=True):
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
        before = self._process.resident_bytes()
        waiting = asyncio.ensure_future(self._ask(keys, replace(SHORT, held=True)))
        await self._until_held(len(keys), waiting)
        self.figures.stream_kib = (self._process.resident_bytes() - before) / 1024 / len(keys)
        await self._model.release()
        await waiting
        await self._check()

    async def _until_held(self, number: int, waiting: "asyncio.Future[list[Reply]]") -> None:
        deadline = time.monotonic() + HOLD_SECONDS
        while await self._model.held() < number:
            self._process.check_alive()
            if waiting.done() or time.monotonic() > deadline:
                break  # some were refused: the check reports it
            await asyncio.sleep(0.05)
        await asyncio.sleep(SETTLE_SECONDS)

    async def _alone(self) -> None:
        """Measure short turns, one after another. They are checked afterwards: reading back costs CPU too."""
        taken: list[tuple[list[Ask], list[Script], list[Reply]]] = []
        before = self._process.cpu_seconds()
        for n in range(self._plan.alone):
            await self._ask([f"a{n}"], SHORT)
            taken.append((self._asks, self._scripts, self._replies))
        if not taken:
            return
        self.figures.short_ms = (self._process.cpu_seconds() - before) / len(taken) * 1000
        for self._asks, self._scripts, self._replies in taken:
            await self._check()
            self.figures.alone_ms += _first_ms(self._replies)

    async def _together(self, step: str, shape: Shape, streams: int) -> None:
        """Measure streams that are asked at the same time."""
        keys = [f"{step[0]}{n}x{streams}" for n in range(streams)]
        deltas = streams * shape.deltas
        began = time.monotonic()
        cpu, load = self._process.cpu_seconds(), self._load_seconds()
        replies = await self._ask(keys, Script("", shape.deltas, shape.pace_ms, size=shape.size))
        cpu, load = self._process.cpu_seconds() - cpu, self._load_seconds() - load
        load_share = load / (time.monotonic() - began)
        written = await self._model.times()
        delays = [
            delay
            for script, reply in zip(self._scripts, replies, strict=True)
            for delay in reply.delays_ms(written.get(script.key, []), script.size)
        ]
        self.figures.traffic[step] = Traffic(
            streams=streams,
            cpu_us=cpu / deltas * 1_000_000,
            shown=sum(len(reply.arrivals) for reply in replies) / deltas,
            load_share=load_share,
            first_ms=_first_ms(replies),
            delay_ms=delays,
            wrong=await self._check(),
        )

    def _load_seconds(self) -> float:
        return time.process_time() + self._model.process.cpu_seconds()

    async def _history(self) -> None:
        """Measure the CPU time of turns as the history of one talk grows."""
        spent: list[float] = []
        for n in range(max(self._plan.turns) + NEIGHBOURS if self._plan.turns else 0):
            before = self._process.cpu_seconds()
            await self._ask([f"t{n}"], HISTORY, talk=f"{self._number}history")
            spent.append(self._process.cpu_seconds() - before)
        if spent:
            await self._check()
        for turn in self._plan.turns:
            around = spent[max(0, turn - 1 - NEIGHBOURS) : turn + NEIGHBOURS]
            self.figures.turn_ms[turn] = statistics.median(around) * 1000

    async def _idle_memory(self, parley: Parley) -> None:
        """Measure the growth of resident memory by readers of one run that waits for its model."""
        if not self._plan.readers:
            return
        talk = f"{self._number}idle"
        await self._ask(["i0"], SHORT, talk)
        waiting = asyncio.ensure_future(self._ask(["i1"], replace(SHORT, held=True), talk))
        await self._until_held(1, waiting)
        before = self._process.resident_bytes()
        async with parley.followed(talk, self._plan.readers):
            await asyncio.sleep(SETTLE_SECONDS)
            self.figures.idle_kib = (self._process.resident_bytes() - before) / 1024 / self._plan.readers
        await self._model.release()
        await waiting
        await self._check()

    async def _requests(self, parley: Parley) -> None:
        """Measure the CPU time of requests, one after another, in a talk of one short turn."""
        if not self._plan.requests:
            return
        talk = f"{self._number}requests"
        await self._ask(["r0"], SHORT, talk)
        await self._check()
        for kind in REQUESTS:
            for _ in range(WARM_UP_REQUESTS):
                await parley.get(kind, talk)
            before = self._process.cpu_seconds()
            for _ in range(self._plan.requests):
                await parley.get(kind, talk)
            spent = self._process.cpu_seconds() - before
            self.figures.request_ms[kind] = spent / self._plan.requests * 1000


def _first_ms(replies: Sequence[Reply]) -> list[float]:
    return [reply.first_ms for reply in replies if reply.first_ms is not None]
