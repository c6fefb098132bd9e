"""Tables of docs/performance.md: the medians, and each round."""

import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.figures import Figures, Results
from benchmarks.plan import BURST, Plan
from benchmarks.processes import ROOT, Cores
from benchmarks.targets.parley_server import REQUESTS

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"
PACKAGES = ("google-adk", "google-genai", "Django", "daphne", "pysqlite3")
NOTHING = "-"

Value = Callable[[Figures, Figures], float | None]  # of a target and the baseline of its round


@dataclass(frozen=True, slots=True)
class Column:
    """Figure of a table; ``value`` returns None where it was not measured."""

    heading: str
    value: Value
    form: str = "{:.0f}"


@dataclass(frozen=True, slots=True)
class Table:
    heading: str
    columns: Sequence[Column]


def report(results: Results, plan: Plan, conditions: Sequence[str]) -> str:
    """Return the tables. The first target of the rounds is the baseline of the others."""
    rounds, tables = results.rounds, tables_of(plan)
    parts = ["\n".join(conditions)]
    parts.append("\n".join([*_failures(results)]))
    parts += ["### Medians (least to most)", *(_medians(rounds, each) for each in tables)]
    parts += [_against(rounds, plan, name) for name in _names(rounds) if name.startswith("Parley at ")]
    parts += ["### Every round", *(_each_round(rounds, each) for each in [*tables, _checks(plan)])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _failures(results: Results) -> Iterator[str]:
    """Yield a line for each target that failed, and one for each that had wrong replies."""
    for name, why in results.failed.items():
        yield f"- Not measured: {name}, {why}."
    for name in _names(results.rounds):
        wrong = [each for figures in results.rounds if figures.name == name for each in figures.wrong]
        if wrong:
            yield f"- Wrong replies of {name}: {len(wrong)} in all. The first one, by its key: {wrong[0]}."


def write(text: str, page: Path = PAGE) -> None:
    """Write ``text`` between the two markers of the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{page} has no place between {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def conditions(plan: Plan, cores: Cores, *, is_rough: bool = False) -> list[str]:
    """Return the sentences that say what was measured, and where."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    shapes = " or ".join(
        f"{shape.deltas} deltas of {shape.size} characters, {shape.pace_ms} ms apart ({shape.name})"
        for shape in plan.shapes
    )
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    found = [
        f"`make bench`, {when}. {plan.streams} streams at once, each of {shapes}.",
        f"{_cpu()}, Linux {platform.release()}; Python {platform.python_version()}, {packages}.",
        "The measured process has one core to itself; model and load generator share another."
        if cores.apart
        else "There is one core, which the measured process shares with model and load generator.",
    ]
    rough = "Rough: one round of small numbers (`QUICK=1`). A difference below a fifth means nothing."
    return [rough, *found] if is_rough else found


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value at position ``share`` of the sorted values, without interpolation."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


# --- the columns --------------------------------------------------------------------------------


def tables_of(plan: Plan) -> list[Table]:
    return [
        Table("CPU", _cpu_columns(plan)),
        Table("First token", _first_token_columns(plan)),
        Table("From the model's write to the client, ms", _delay_columns(plan)),
        Table("CPU of one turn, by what went before it", _turn_columns(plan)),
        Table("Resident memory of a stream, KiB", _memory_columns()),
        Table("CPU of a request, ms", [Column(kind, _request(kind), "{:.2f}") for kind in REQUESTS]),
    ]


def _cpu_columns(plan: Plan) -> list[Column]:
    found = []
    for shape in plan.shapes:
        found += _with_ratio(f"a {shape.name} delta, µs", _delta_cpu(shape.name))
    return found + _with_ratio("a short turn, ms", lambda figures: figures.short_ms, "{:.1f}")


def _first_token_columns(plan: Plan) -> list[Column]:
    found = []
    for share in (0.5, 0.99):
        found += _with_difference(f"alone, p{share * 100:.0f}, ms", _alone(share))
    found += [Column(f"{plan.streams} at once, p50, ms", _of(_first(plan.small.name, 0.5)))]
    if plan.burst:
        found += [Column(f"{plan.burst} at once, p50, ms", _of(_first(BURST, 0.5)))]
        found += [Column("p99, ms", _of(_first(BURST, 0.99)))]
        found += [Column("replies not whole", _of(_burst_wrong))]
    return found


def _delay_columns(plan: Plan) -> list[Column]:
    return [
        Column(
            f"{streams} {'stream' if streams == 1 else 'streams'}, p{share * 100:.0f}",
            _of(_delay(step, share)),
            "{:.1f}",
        )
        for streams, step in plan.delay_steps.items()
        for share in (0.5, 0.99)
    ]


def _turn_columns(plan: Plan) -> list[Column]:
    found = []
    for turn in plan.turns:
        found += _with_difference(f"turn {turn}, ms", _turn(turn), "{:.1f}")
    if len(plan.turns) > 1:
        first, last = _turn(plan.turns[0]), _turn(plan.turns[-1])
        found.append(Column("growth of what is added", _growth(first, last), "{:.2f}"))
    return found


def _memory_columns() -> list[Column]:
    held = _with_difference("waiting for the model", lambda figures: figures.stream_kib)
    return [*held, Column("reading only", lambda figures, _: figures.idle_kib)]


def _checks(plan: Plan) -> Table:
    columns = [
        Column("replies wrong", lambda figures, _: len(figures.wrong)),
        Column("of", lambda figures, _: figures.asked),
        Column("text events a small delta", _of(_shown(plan.small.name)), "{:.2f}"),
        Column("text events a gemini delta", _of(_shown(plan.gemini.name)), "{:.2f}"),
        Column("model and load, % of a core", _of(_load)),
    ]
    return Table("Checks", columns)


Own = Callable[[Figures], float | None]


def _of(own: Own) -> Value:
    return lambda figures, base: own(figures)


def _with_ratio(heading: str, own: Own, form: str = "{:.0f}") -> list[Column]:
    return [Column(heading, _of(own), form), Column("times the bare Runner", _ratio(own), "{:.2f}")]


def _with_difference(heading: str, own: Own, form: str = "{:.0f}") -> list[Column]:
    return [Column(heading, _of(own), form), Column("added", _difference(own), form)]


def _ratio(own: Own) -> Value:
    def value(figures: Figures, base: Figures) -> float | None:
        mine, its = own(figures), own(base)
        return mine / its if mine is not None and its else None

    return value


def _difference(own: Own) -> Value:
    def value(figures: Figures, base: Figures) -> float | None:
        mine, its = own(figures), own(base)
        return mine - its if mine is not None and its is not None else None

    return value


def _growth(first: Own, last: Own) -> Value:
    def value(figures: Figures, base: Figures) -> float | None:
        before, after = _difference(first)(figures, base), _difference(last)(figures, base)
        return after / before if before and after is not None else None

    return value


def _delta_cpu(step: str) -> Own:
    return lambda figures: figures.traffic[step].cpu_us


def _alone(share: float) -> Own:
    return lambda figures: percentile(figures.alone_ms, share)


def _first(step: str, share: float) -> Own:
    return lambda figures: percentile(figures.traffic[step].first_ms, share)


def _burst_wrong(figures: Figures) -> float:
    return figures.traffic[BURST].wrong


def _delay(step: str, share: float) -> Own:
    return lambda figures: percentile(figures.traffic[step].delay_ms, share)


def _turn(turn: int) -> Own:
    return lambda figures: figures.turn_ms.get(turn)


def _request(kind: str) -> Value:
    return lambda figures, _: figures.request_ms.get(kind)


def _shown(step: str) -> Own:
    return lambda figures: figures.traffic[step].shown


def _load(figures: Figures) -> float:
    return max(traffic.load_share for traffic in figures.traffic.values()) * 100


# --- the tables ---------------------------------------------------------------------------------


def _rows(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _names(rounds: Sequence[Figures]) -> list[str]:
    return list(dict.fromkeys(figures.name for figures in rounds))


def _base(rounds: Sequence[Figures], number: int) -> Figures:
    """Return the figures of the baseline in the same round."""
    return next(figures for figures in rounds if (figures.name, figures.round) == (rounds[0].name, number))


def _medians(rounds: Sequence[Figures], each: Table) -> str:
    rows = []
    for name in _names(rounds):
        own = [(figures, _base(rounds, figures.round)) for figures in rounds if figures.name == name]
        cells = [_spread([column.value(*pair) for pair in own], column.form) for column in each.columns]
        rows.append([name, *cells])
    return _section(
        f"#### {each.heading}", ["process", *(column.heading for column in each.columns)], rows, 1
    )


def _each_round(rounds: Sequence[Figures], each: Table) -> str:
    rows = []
    for figures in rounds:
        values = [column.value(figures, _base(rounds, figures.round)) for column in each.columns]
        cells = [_cell(value, column.form) for value, column in zip(values, each.columns, strict=True)]
        rows.append([str(figures.round), figures.name, *cells])
    heading = ["round", "process", *(column.heading for column in each.columns)]
    return _section(f"#### {each.heading}, every round", heading, rows, 2)


def _section(title: str, heading: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> str:
    """Return a table below its title, without rows that were not measured; empty if none was."""
    found = [row for row in rows if set(row[names:]) - {NOTHING}]
    return f"{title}\n\n{_rows(heading, found)}" if found else ""


def _spread(values: Sequence[float | None], form: str) -> str:
    found = [value for value in values if value is not None]
    if not found:
        return NOTHING
    middle, least, most = (form.format(v) for v in (statistics.median(found), min(found), max(found)))
    return middle if least == most else f"{middle} ({least} to {most})"


def _cell(value: float | None, form: str) -> str:
    return NOTHING if value is None else form.format(value)


def _against(rounds: Sequence[Figures], plan: Plan, name: str) -> str:
    """Return a table of this Parley on SQLite, in shares of the other commit's figures of the same round."""
    its = {figures.round: figures for figures in rounds if figures.name == name}
    own = [figures for figures in rounds if figures.name == "Parley, SQLite" and figures.round in its]
    if not own:
        return ""
    rows = []
    for each in tables_of(plan):
        for column in each.columns:
            if column.heading in ("added", "times the bare Runner", "growth of what is added"):
                continue
            pairs = [(column.value(f, f), column.value(its[f.round], its[f.round])) for f in own]
            shares = [mine / other for mine, other in pairs if mine is not None and other]
            if shares:
                rows.append([each.heading, column.heading, _spread(shares, "{:.2f}")])
    title = f"### Parley of this checkout, in shares of {name}"
    return _section(title, ["table", "figure", "share"], rows, 2)
