"""``make bench``: what Parley and other servers cost beside a bare ADK Runner, all in the same run.

The targets are measured one after another, in a new order each round, each in a fresh process. All
processes, temporary files and databases are removed at the end, also after Ctrl-C or the time limit. The
environments of the peers stay in var/peers.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import checkout, report
from benchmarks.environments import NotInstalled
from benchmarks.figures import Figures, Results, save
from benchmarks.measure import Measurement, Model
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.processes import ROOT, Cores, Process, Program
from benchmarks.targets.bare import BareRunner
from benchmarks.targets.base import Target
from benchmarks.targets.chainlit import Chainlit
from benchmarks.targets.parley_server import Parley
from benchmarks.targets.peers import AdkServer, AgUi, Peer
from tests.support.services import NotHere, database, find_postgres, redis_prefix

LOAD_SHARE_MAX = 0.6  # of a core; with more, model and load may have slowed down the measured process
WRONG_LINES_MAX = 5  # the file has all of them
PEERS: dict[str, type[Peer]] = {"adk": AdkServer, "ag-ui": AgUi, "chainlit": Chainlit}
SQLITE, POSTGRES = "Parley, SQLite", "Parley, PostgreSQL + Redis"
TARGETS = ("sqlite", "postgres", *PEERS)
AMOUNTS = ("rounds", "streams", "alone", "burst", "readers", "requests")
MINUTES, QUICK_MINUTES = 90.0, 8.0


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough measurement in about two minutes")
    for name in AMOUNTS:
        parser.add_argument(f"--{name}", type=int, help="of the plan in benchmarks/plan.py")
    parser.add_argument("--deltas", type=int, help="of each small reply; the others take as long")
    parser.add_argument(
        "--turns", type=_numbers, help="turns of the history whose CPU time is reported; empty: skip it"
    )
    parser.add_argument("--targets", help="targets besides the bare Runner")
    parser.add_argument("--against", metavar="COMMIT", help="measure Parley of this commit too, on SQLite")
    parser.add_argument("--minutes", type=float, help="time limit; an incomplete round is left out")
    parser.add_argument("--raw", type=Path, help="JSON file of all figures; var/bench/<date>.json")
    parser.add_argument("--write", action="store_true", help=f"write into {report.PAGE.name}, not to stdout")
    chosen = parser.parse_args(arguments)
    if chosen.targets is None:
        chosen.targets = "sqlite" if chosen.quick else ",".join(TARGETS)
    if chosen.minutes is None:
        chosen.minutes = QUICK_MINUTES if chosen.quick else MINUTES
    if unknown := set(_names(chosen.targets)) - set(TARGETS):
        parser.error(f"There is no {min(unknown)!r}; there are {', '.join(TARGETS)}.")
    return chosen


def plan_of(chosen: argparse.Namespace) -> Plan:
    plan = QUICK if chosen.quick else FULL
    if chosen.deltas is not None:
        plan = plan.with_deltas(chosen.deltas)
    given = {name: value for name in (*AMOUNTS, "turns") if (value := getattr(chosen, name)) is not None}
    return replace(plan, **given)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def _names(targets: str) -> list[str]:
    return [name for name in targets.split(",") if name]


class Bench:
    """One run of the command."""

    def __init__(self, chosen: argparse.Namespace, cores: Cores, folder: Path, stack: ExitStack) -> None:
        self.plan, self.cores, self.results = plan_of(chosen), cores, Results()
        self.conditions = report.conditions(self.plan, cores, is_rough=chosen.quick)
        self.raw: Path = chosen.raw or ROOT / "var" / "bench" / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}.json"
        self._chosen, self._folder, self._stack = chosen, folder, stack
        self._against: Program | None = None
        self._exact: set[str] = set()  # targets whose failure or wrong reply makes the command fail

    def install(self) -> None:
        """Install the environments that are missing; those that fail are reported and left out."""
        for name in _names(self._chosen.targets):
            if peer := PEERS.get(name):
                if not peer.environment.is_ready:
                    write_line(f"Installing {peer.name} into {peer.environment.home}, once.")
                try:
                    peer.environment.install()
                except NotInstalled as reason:
                    self._leave_out(peer.name, f"not installed: {reason}")
        if commit := self._chosen.against:
            try:
                self._against = checkout.program_of(commit, self._folder / "checkout")
            except NotInstalled as reason:
                self._leave_out(_name_at(commit), f"not installed: {reason}")

    def _leave_out(self, name: str, reason: str) -> None:
        self.results.failed[name] = reason
        write_line(f"{name} is left out: {reason}")

    async def run(self) -> None:
        """Measure the rounds that the time limit allows."""
        process = await Process(["-m", "benchmarks.gemini"], self._folder / "model.log").start()
        try:
            model = Model(process, int(await process.line()))
            measured = self._targets(model.port)
            self._exact = {target.name for target in measured if target.must_be_exact}
            targets = [target for target in measured if self._is_set_up(target)]
            await self._rounds(targets, model)
        finally:
            await process.stop()

    def _targets(self, model_port: int) -> list[Target]:
        """Return the bare Runner, and the requested targets that are available."""
        found: list[Target] = [BareRunner(self._folder / "bare", model_port)]
        for name in _names(self._chosen.targets):
            folder = self._folder / name
            if name == "sqlite":
                found.append(Parley(SQLITE, folder, model_port, self.plan.members))
            elif name == "postgres":
                try:
                    env = self._services()
                except NotHere as reason:
                    self._leave_out(POSTGRES, str(reason))
                else:
                    found.append(Parley(POSTGRES, folder, model_port, self.plan.members, **env))
            elif PEERS[name].name not in self.results.failed:
                found.append(PEERS[name](folder, model_port))
        if self._against:
            name, folder = _name_at(self._chosen.against), self._folder / "against"
            found.append(Parley(name, folder, model_port, self.plan.members, self._against))
        return found

    def _services(self) -> dict[str, str]:
        """Return the settings of a new database and a new prefix in Redis. Raises NotHere."""
        postgres = self._stack.enter_context(database(find_postgres()))
        return {**postgres, **self._stack.enter_context(redis_prefix())}

    def _is_set_up(self, target: Target) -> bool:
        try:
            target.set_up()
        except (RuntimeError, OSError, ValueError) as reason:
            self._leave_out(target.name, str(reason))
            return False
        return True

    async def _rounds(self, targets: list[Target], model: Model) -> None:
        """Keep the figures of the rounds that are complete when the time is over."""
        names = [target.name for target in targets]
        number = 0
        try:
            async with asyncio.timeout(self._chosen.minutes * 60):
                for number in range(1, self.plan.rounds + 1):
                    left = [target for target in targets if target.name not in self.results.failed]
                    first = number % len(left)  # rotates with each round
                    figures = []
                    for target in [*left[first:], *left[:first]]:
                        figures += await self._measure(target, model, number)
                    self.results.rounds += sorted(figures, key=lambda each: names.index(each.name))
                    save(self.results, self.plan, self.conditions, self.raw)
        except TimeoutError:
            write_line(f"The {self._chosen.minutes:g} minutes ended in round {number}, which is left out.")

    async def _measure(self, target: Target, model: Model, number: int) -> list[Figures]:
        """Return the figures of one target, or none if it fails. Without the baseline there are no others."""
        began = time.monotonic()
        try:
            figures = await Measurement(target, model, self.plan, number).take(self.cores)
        except Exception as reason:
            if isinstance(target, BareRunner):
                raise
            self._leave_out(target.name, f"failed in round {number}: {type(reason).__name__}: {reason}")
            return []
        took = time.monotonic() - began
        deltas = ", ".join(
            f"{figures.traffic[shape.name].cpu_us:.0f} µs a {shape.name} delta" for shape in self.plan.shapes
        )
        write_line(f"round {number}  {target.name:26} {deltas}   ({took:.0f} s)")
        for wrong in figures.wrong[:WRONG_LINES_MAX]:
            write_line(f"    wrong: {wrong}")
        if figures.wrong[WRONG_LINES_MAX:]:
            write_line(f"    {len(figures.wrong)} of {figures.asked} replies are wrong")
        share = max(traffic.load_share for traffic in figures.traffic.values())
        if share > LOAD_SHARE_MAX:
            write_line(f"    model and load took {share:.0%} of a core: they may have slowed it down")
        return [figures]

    def faults(self) -> list[str]:
        """Return why the command fails: a process that must be exact failed, or had wrong replies."""
        wrong = [
            f"{each.name}: {len(each.wrong)} of {each.asked} replies of round {each.round} are wrong."
            for each in self.results.rounds
            if each.name in self._exact and each.wrong
        ]
        failed = {name: reason for name, reason in self.results.failed.items() if name in self._exact}
        return wrong + [f"{name}: {reason}" for name, reason in failed.items()]


def _name_at(commit: str) -> str:
    return f"Parley at {commit}, SQLite"


def write_line(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> None:
    chosen = options(sys.argv[1:])
    cores = Cores.here()
    cores.leave_measured_core()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        bench = Bench(chosen, cores, folder, stack)
        bench.install()
        asyncio.run(bench.run())
    if not bench.results.rounds:
        sys.exit("No round was complete.")
    write_line(f"All figures: {bench.raw}")
    text = report.report(bench.results, bench.plan, bench.conditions)
    faults = bench.faults()
    if chosen.write and not faults:
        report.write(text)
        write_line(f"written: {report.PAGE}")
    else:
        sys.stdout.write(text)
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # the exit status that shells give a command ended by Ctrl-C
