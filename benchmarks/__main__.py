"""``make bench``: what a streamed delta costs in Parley, over a bare ADK Runner measured in the same run.

Processes take turns, in a new order each round; each is started anew for its turn. Nothing is left
behind: no process, no file, no database, whether it ends by itself, by Ctrl-C or by its time.
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
from tests.matrix import NotHere, database, find_postgres

MOST_OF_A_CORE = 0.6  # above which model and load may have held up what is measured
TARGETS = ("sqlite", "postgres", "adk")


def options(words: Sequence[str]) -> argparse.Namespace:
    plan = Plan()
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=plan.streams)
    parser.add_argument("--deltas", type=int, default=plan.deltas)
    parser.add_argument("--turns", type=_numbers, default=plan.turns, help="of the history; none: skip it")
    parser.add_argument("--targets", default=",".join(TARGETS), help="beside the bare Runner")
    parser.add_argument("--minutes", type=float, default=8, help="then a round that is not whole is left out")
    parser.add_argument("--write", action="store_true", help=f"into {report.PAGE.name}, not to stdout")
    return parser.parse_args(words)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(",") if word)


def targets(names: str, folder: Path, model_port: int, streams: int, stack: ExitStack) -> list[Target]:
    """The bare Runner, and those that are asked for and can be here."""
    found: list[Target] = [BareRunner(folder / "bare", model_port)]
    for name in names.split(","):
        if name == "sqlite":
            found.append(Parley("Parley, SQLite", folder / name, model_port, streams))
        elif name == "postgres":
            try:
                env = stack.enter_context(database(find_postgres()))
            except NotHere as reason:
                say(f"without PostgreSQL: {reason}")
            else:
                found.append(Parley("Parley, PostgreSQL", folder / name, model_port, streams, **env))
        elif name == "adk":
            found.append(AdkServer(folder / name, model_port))
        elif name:
            sys.exit(f"There is no {name!r}; there are {', '.join(TARGETS)}.")
    return found


async def measure(asked: argparse.Namespace, plan: Plan, cores: Cores, stack: ExitStack) -> list[Figures]:
    """All rounds, or those for which there was time."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
    process = await Process(["-m", "benchmarks.gemini"], folder / "model.log").start()
    try:
        model = Model(process, int(await process.line()))
        measured = targets(asked.targets, folder, model.port, plan.streams, stack)
        for target in measured:
            target.set_up()
        return await _rounds(asked, measured, model, plan, cores)
    finally:
        await process.stop()


async def _rounds(
    asked: argparse.Namespace, measured: list[Target], model: Model, plan: Plan, cores: Cores
) -> list[Figures]:
    """The rounds that are whole when the time is over."""
    found: list[Figures] = []
    number = 0
    try:
        async with asyncio.timeout(asked.minutes * 60):
            for number in range(1, asked.rounds + 1):
                first = number % len(measured)  # another one in each round
                order = [*measured[first:], *measured[:first]]
                figures = [await _one(target, model, plan, number, cores) for target in order]
                found += sorted(figures, key=lambda each: [t.name for t in measured].index(each.name))
    except TimeoutError:
        say(f"{asked.minutes:g} minutes were over in round {number}, which is left out.")
    return found


async def _one(target: Target, model: Model, plan: Plan, number: int, cores: Cores) -> Figures:
    began = time.monotonic()
    figures = await Measurement(target, model, plan, number).take(cores)
    took = time.monotonic() - began
    say(f"round {number}  {target.name:20} {figures.cpu_us:6.0f} µs a delta   ({took:.0f} s)")
    for wrong in figures.wrong:
        say(f"    wrong: {wrong}")
    if target.must_be_exact and figures.wrong:
        sys.exit(
            f"{target.name}: {len(figures.wrong)} of {figures.asked} replies were not as they were sent."
        )
    if figures.load_share > MOST_OF_A_CORE:
        say(f"    model and load took {figures.load_share:.0%} of a core: they may have held it up")
    return figures


def say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


def main() -> None:
    asked = options(sys.argv[1:])
    plan = Plan(streams=asked.streams, deltas=asked.deltas, turns=asked.turns)
    cores = Cores.here()
    cores.keep_away()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with ExitStack() as stack:
        rounds = asyncio.run(measure(asked, plan, cores, stack))
    if not rounds:
        sys.exit("No round was whole.")
    text = report.report(rounds, plan, cores, "make bench")
    if asked.write:
        report.write(text)
        say(f"written: {report.PAGE}")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell says it of a command that Ctrl-C ended
