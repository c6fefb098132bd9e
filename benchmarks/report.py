"""Tables of docs/performance.md: the medians, and each round."""

import platform
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import Figures, Plan
from benchmarks.processes import ROOT, Cores
from benchmarks.script import SIZE

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"
PACKAGES = ("google-adk", "google-genai", "Django", "daphne", "pysqlite3")


def report(rounds: Sequence[Figures], plan: Plan, cores: Cores, command: str) -> str:
    """Return the tables. The first target of ``rounds`` is the baseline of the others."""
    parts = [_conditions(plan, cores, command), _medians(rounds), _each_round(rounds)]
    if plan.turns:
        parts.append(_history(rounds, plan))
    return "\n\n".join(parts) + "\n"


def write(text: str, page: Path = PAGE) -> None:
    """Write ``text`` between the two markers of the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{page} has no place between {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _conditions(plan: Plan, cores: Cores, command: str) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    layout = (
        "The measured process has one core to itself; model and load generator share another."
        if cores.apart
        else "There is one core, which the measured process shares with model and load generator."
    )
    return (
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. {plan.streams} streams at once, "
        f"{plan.deltas} deltas of {SIZE} characters each, {plan.pace_ms} ms apart.\n"
        f"{_cpu()}, Linux {platform.release()}; Python {platform.python_version()}, {packages}.\n"
        f"{layout}"
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value at position ``share`` of the sorted values, without interpolation."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _median_and_tail(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f} / {percentile(values, 0.95):.0f}"


def _each_round(rounds: Sequence[Figures]) -> str:
    heading = [
        "round", "process", "CPU a delta, µs", "times the bare Runner", "first token alone, p50 / p95, ms",
        "all at once, p50 / p95, ms", "KiB an open stream", "text events a delta", "load, % of a core",
        "replies wrong",
    ]  # fmt: skip
    rows = [
        [
            str(figures.round),
            figures.name,
            f"{figures.cpu_us:.0f}",
            f"{figures.cpu_us / _base(rounds, figures.round).cpu_us:.2f}",
            _median_and_tail(figures.alone_ms),
            _median_and_tail(figures.together_ms),
            f"{figures.stream_kib:.0f}",
            f"{figures.shown:.2f}",
            f"{figures.load_share * 100:.0f}",
            f"{len(figures.wrong)} of {figures.asked}",
        ]
        for figures in rounds
    ]
    return "### Every round\n\n" + table(heading, rows)


def _base(rounds: Sequence[Figures], number: int) -> Figures:
    """Return the figures of the baseline in the same round."""
    return next(figures for figures in rounds if (figures.name, figures.round) == (rounds[0].name, number))


def _names(rounds: Sequence[Figures]) -> list[str]:
    return list(dict.fromkeys(figures.name for figures in rounds))


def _medians(rounds: Sequence[Figures]) -> str:
    heading = [
        "process", "CPU a delta, µs", "times the bare Runner", "first token alone, ms", "added",
        "all at once, ms", "added", "KiB an open stream", "added",
    ]  # fmt: skip
    measures: list[tuple[Callable[[Figures], float], bool]] = [
        (lambda figures: figures.cpu_us, True),
        (lambda figures: statistics.median(figures.alone_ms), False),
        (lambda figures: statistics.median(figures.together_ms), False),
        (lambda figures: figures.stream_kib, False),
    ]
    rows = []
    for name in _names(rounds):
        own = [figures for figures in rounds if figures.name == name]
        row = [name]
        for value, as_ratio in measures:
            row.append(_spread([value(figures) for figures in own], "{:.0f}"))
            base = [value(_base(rounds, figures.round)) for figures in own]
            if as_ratio:
                row.append(_spread([value(f) / b for f, b in zip(own, base, strict=True)], "{:.2f}"))
            else:
                row.append(_spread([value(f) - b for f, b in zip(own, base, strict=True)], "{:.0f}"))
        rows.append(row)
    return "### Medians (least to most)\n\n" + table(heading, rows)


def _spread(values: Sequence[float], form: str) -> str:
    middle, least, most = (form.format(v) for v in (statistics.median(values), min(values), max(values)))
    return middle if least == most else f"{middle} ({least} to {most})"


def _history(rounds: Sequence[Figures], plan: Plan) -> str:
    heading = ["round", "process", *(f"turn {turn}, ms" for turn in plan.turns)]
    rows = [
        [str(figures.round), figures.name, *(f"{figures.turn_ms[turn]:.1f}" for turn in plan.turns)]
        for figures in rounds
    ]
    return "### CPU of one turn, by what went before it\n\n" + table(heading, rows)
