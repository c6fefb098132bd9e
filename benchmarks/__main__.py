"""``make bench``: the cost of a streamed delta in Parley, relative to a bare ADK Runner in the same run.

The targets are measured one after another, in a new order each round, each in a fresh process. All
processes, files and databases are removed at the end, also after Ctrl-C or the time limit.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import report
from benchmarks.measure import Figures, Measurement, Model, Plan
from benchmarks.processes import Cores, Process
from benchmarks.targets import AdkServer, BareRunner, Parley, Target
from tests.support.services import NotHere, database, find_postgres

LOAD_SHARE_MAX = 0.6  # of a core; with more, model and load may have slowed down the measured process
TARGETS = ("sqlite", "postgres", "adk")


def options(arguments: Sequence[str]) -> argparse.Namespace:
    plan = Plan()
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=plan.streams)
    parser.add_argument("--deltas", type=int, default=plan.deltas)
    parser.add_argument(
        "--turns",
        type=_numbers,
        default=plan.turns,
        help="turns of the history whose CPU time is reported; empty: skip the history",
    )
    parser.add_argument("--targets", default=",".join(TARGETS), help="targets besides the bare Runner")
    parser.add_argument(
        "--minutes", type=float, default=8, help="time limit; an incomplete round is left out"
    )
    parser.add_argument("--write", action="store_true", help=f"write into {report.PAGE.name}, not to stdout")
    return parser.parse_args(arguments)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def targets(names: str, folder: Path, model_port: int, streams: int, stack: ExitStack) -> list[Target]:
    """Return the bare Runner, and the requested targets that are available."""
    found: list[Target] = [BareRunner(folder / "bare", model_port)]
    for name in names.split(","):
        if name == "sqlite":
            found.append(Parley("Parley, SQLite", folder / name, model_port, streams))
        elif name == "postgres":
            try:
                env = stack.enter_context(database(find_postgres()))
            except NotHere as reason:
                write_line(f"without PostgreSQL: {reason}")
            else:
                found.append(Parley("Parley, PostgreSQL", folder / name, model_port, streams, **env))
        elif name == "adk":
            found.append(AdkServer(folder / name, model_port))
        elif name:
            sys.exit(f"There is no {name!r}; there are {', '.join(TARGETS)}.")
    return found


async def measure(chosen: argparse.Namespace, plan: Plan, cores: Cores, stack: ExitStack) -> list[Figures]:
    """Return the figures of all rounds that the time limit allowed."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
    process = await Process(["-m", "benchmarks.gemini"], folder / "model.log").start()
    try:
        model = Model(process, int(await process.line()))
        measured = targets(chosen.targets, folder, model.port, plan.streams, stack)
        for target in measured:
            target.set_up()
        return await _rounds(chosen, measured, model, plan, cores)
    finally:
        await process.stop()


async def _rounds(
    chosen: argparse.Namespace, measured: list[Target], model: Model, plan: Plan, cores: Cores
) -> list[Figures]:
    """Return the figures of the rounds that are complete when the time is over."""
    found: list[Figures] = []
    number = 0
    try:
        async with asyncio.timeout(chosen.minutes * 60):
            for number in range(1, chosen.rounds + 1):
                first = number % len(measured)  # rotates with each round
                order = [*measured[first:], *measured[:first]]
                figures = [await _measure_target(target, model, plan, number, cores) for target in order]
                found += sorted(figures, key=lambda each: [t.name for t in measured].index(each.name))
    except TimeoutError:
        write_line(f"The {chosen.minutes:g} minutes ended in round {number}, which is left out.")
    return found


async def _measure_target(target: Target, model: Model, plan: Plan, number: int, cores: Cores) -> Figures:
    began = time.monotonic()
    figures = await Measurement(target, model, plan, number).take(cores)
    took = time.monotonic() - began
    write_line(f"round {number}  {target.name:20} {figures.cpu_us:6.0f} µs a delta   ({took:.0f} s)")
    for wrong in figures.wrong:
        write_line(f"    wrong: {wrong}")
    if target.must_be_exact and figures.wrong:
        sys.exit(
            f"{target.name}: {len(figures.wrong)} of {figures.asked} replies were not as they were sent."
        )
    if figures.load_share > LOAD_SHARE_MAX:
        write_line(
            f"    model and load took {figures.load_share:.0%} of a core: they may have slowed it down"
        )
    return figures


def write_line(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> None:
    chosen = options(sys.argv[1:])
    plan = Plan(streams=chosen.streams, deltas=chosen.deltas, turns=chosen.turns)
    cores = Cores.here()
    cores.leave_measured_core()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with ExitStack() as stack:
        rounds = asyncio.run(measure(chosen, plan, cores, stack))
    if not rounds:
        sys.exit("No round was complete.")
    text = report.report(rounds, plan, cores, "make bench")
    if chosen.write:
        report.write(text)
        write_line(f"written: {report.PAGE}")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # the exit status that shells give a command ended by Ctrl-C
