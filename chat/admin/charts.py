"""Charts as SVG, made on the server: no script, no inline style, colours from the style sheet.

A chart is numbers in, coordinates out; templates/admin/instruments/_chart.html writes them down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from django.utils.functional import Promise

WIDTH, HEIGHT = 640, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 24  # room for the numbers at the side, and for the times
STEPS = (1, 2, 2.5, 5, 10)
TIME_MARKS = 5

Words = str | Promise


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one colour of the bars: a value for each stretch of time, None where there is none."""

    name: Words
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    number: int  # of the series, from 1: its colour


@dataclass(frozen=True, slots=True)
class Mark:
    """A place on an axis, and what stands there."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """``times`` are the labels of the stretches; ``stacked`` draws bars, else lines."""

    key: str
    title: Words
    description: Words
    unit: Words
    times: Sequence[str]
    series: Sequence[Series]
    stacked: bool = False

    view_box = f"0 0 {WIDTH} {HEIGHT}"
    left, right, bottom = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM

    @property
    def is_empty(self) -> bool:
        return not any(value for each in self.series for value in each.values)

    @property
    def top(self) -> float:
        """Where the axis ends: a round number that no value exceeds."""
        if self.stacked:
            most = max((sum(v or 0 for v in column) for column in self._columns()), default=0)
        else:
            most = max((v for each in self.series for v in each.values if v is not None), default=0)
        return round_up(most)

    @property
    def value_marks(self) -> list[Mark]:
        return [Mark(self._y(self.top * part), short(self.top * part)) for part in (0, 0.5, 1)]

    @property
    def time_marks(self) -> list[Mark]:
        every = max(1, len(self.times) // TIME_MARKS)
        return [Mark(self._x(n + 0.5), self.times[n]) for n in range(every // 2, len(self.times), every)]

    @property
    def lines(self) -> list[tuple[int, str]]:
        """For each stroke the number of its series and its points; a value that is missing ends one."""
        found = []
        for number, each in enumerate(self.series, 1):
            stroke: list[str] = []
            for n, value in enumerate((*each.values, None)):
                if value is not None:
                    stroke.append(f"{self._x(n + 0.5):.1f},{self._y(value):.1f}")
                elif stroke:
                    # a point alone is a line to itself: round ends make it a dot
                    found.append((number, " ".join(stroke if len(stroke) > 1 else stroke * 2)))
                    stroke = []
        return found

    @property
    def bars(self) -> list[Bar]:
        found, width = [], self._x(1) - self._x(0)
        for n, column in enumerate(self._columns()):
            below = 0.0
            for number, value in enumerate(column, 1):
                if value:
                    top = self._y(below + value)
                    height = self._y(below) - top
                    found.append(
                        Bar(
                            round(self._x(n) + width * 0.12, 1),
                            round(top, 1),
                            round(width * 0.76, 1),
                            round(height, 1),
                            number,
                        )
                    )
                    below += value
        return found

    @property
    def rows(self) -> list[tuple[str, list[float | None]]]:
        """The table beside the picture: each time at which there is something to say."""
        columns = zip(self.times, self._columns(), strict=True)
        return [(time, list(column)) for time, column in columns if any(column)]

    def _columns(self) -> list[tuple[float | None, ...]]:
        return list(zip(*(each.values for each in self.series), strict=True))

    def _x(self, stretch: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * stretch / max(1, len(self.times))

    def _y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self.top


def round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5 and their tens; 1 for nothing."""
    if value <= 0:
        return 1
    ten = 10.0 ** floor(log10(value))
    return next((step * ten for step in STEPS if step * ten >= value * 0.999999), 10 * ten)


def short(value: float) -> str:
    """For an axis: 2500000 is 2.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
