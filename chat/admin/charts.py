"""Coordinates of SVG charts, without scripts or inline styles.

templates/admin/instruments/_chart.html draws them, with colours from the style sheet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from django.utils.functional import Promise

WIDTH, HEIGHT = 640, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 24  # margins, for the numbers at the left and the times below
ROUND_NUMBERS = (1, 2, 2.5, 5, 10)
TIME_MARKS = 5

Label = str | Promise


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one colour of the bars."""

    name: Label
    values: Sequence[float | None]  # for each time slice


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    number: int  # of the series, from 1; the style sheet gives it a colour


@dataclass(frozen=True, slots=True)
class Mark:
    """Label on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Chart of one or more series over the same time slices."""

    key: str
    title: Label
    description: Label
    unit: Label
    times: Sequence[str]  # labels of the time slices
    series: Sequence[Series]
    stacked: bool = False  # bars instead of lines

    view_box = f"0 0 {WIDTH} {HEIGHT}"
    left, right, bottom = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM

    @property
    def is_empty(self) -> bool:
        return not any(value for each in self.series for value in each.values)

    @property
    def top(self) -> float:
        """End of the value axis: a round number that no value exceeds."""
        if self.stacked:
            most = max((sum(v or 0 for v in column) for column in self._columns()), default=0)
        else:
            most = max((v for each in self.series for v in each.values if v is not None), default=0)
        return round_up(most)

    @property
    def value_marks(self) -> list[Mark]:
        return [Mark(self._y(self.top * part), short_number(self.top * part)) for part in (0, 0.5, 1)]

    @property
    def time_marks(self) -> list[Mark]:
        every = max(1, len(self.times) // TIME_MARKS)
        return [Mark(self._x(n + 0.5), self.times[n]) for n in range(every // 2, len(self.times), every)]

    @property
    def lines(self) -> list[tuple[int, str]]:
        """Number of the series and points of each line. A missing value ends a line."""
        found = []
        for number, each in enumerate(self.series, 1):
            points: list[str] = []
            for n, value in enumerate((*each.values, None)):
                if value is not None:
                    points.append(f"{self._x(n + 0.5):.1f},{self._y(value):.1f}")
                elif points:
                    # a single point becomes a line to itself, which round line ends draw as a dot
                    found.append((number, " ".join(points if len(points) > 1 else points * 2)))
                    points = []
        return found

    @property
    def bars(self) -> list[Bar]:
        found, width = [], self._x(1) - self._x(0)
        for n, column in enumerate(self._columns()):
            below = 0.0
            for number, value in enumerate(column, 1):
                if value:
                    x, top = self._x(n) + width * 0.12, self._y(below + value)
                    size = round(width * 0.76, 1), round(self._y(below) - top, 1)
                    found.append(Bar(round(x, 1), round(top, 1), *size, number))
                    below += value
        return found

    @property
    def rows(self) -> list[tuple[str, list[float | None]]]:
        """Rows of the table below the chart, without times that have no values."""
        columns = zip(self.times, self._columns(), strict=True)
        return [(time, list(column)) for time, column in columns if any(column)]

    def _columns(self) -> list[tuple[float | None, ...]]:
        return list(zip(*(each.values for each in self.series), strict=True))

    def _x(self, time_slice: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * time_slice / max(1, len(self.times))

    def _y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self.top


def round_up(value: float) -> float:
    """Return the next number of the form 1, 2, 2.5 or 5 times a power of ten; 1 for no value."""
    if value <= 0:
        return 1
    power = 10.0 ** floor(log10(value))
    return next((n * power for n in ROUND_NUMBERS if n * power >= value * 0.999999), 10 * power)


def short_number(value: float) -> str:
    """Return ``2.5M`` for 2500000."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
