"""Metrics of this process, for Prometheus and for the samples in the database.

Numbers observed for each delta are a plain list, written only on the event loop: 0.3 µs an observation and no
lock. prometheus_client's histogram takes 4 µs and two locks. Numbers that other threads count (ended runs,
refusals) have a lock, and change at most once a request.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

from django.conf import settings
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(slots=True)
class Histogram:
    """Histogram without a lock: call ``observe`` on the event loop only."""

    name: str
    help: str
    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)  # one for each bound, and one above the last
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulated(self) -> list[tuple[str, float]]:
        total, found = 0, []
        for bound, count in zip((*self.bounds, inf), self.counts, strict=True):
            total += count
            found.append(("+Inf" if bound == inf else f"{bound:g}", float(total)))
        return found

    def family(self) -> Metric:
        return HistogramMetricFamily(self.name, self.help, buckets=self.cumulated(), sum_value=self.sum)


@dataclass(slots=True)
class Level:
    """Current number of things, and its peak since the last sample."""

    name: str
    help: str
    value: int = 0
    peak: int = 0
    read: Callable[[], int] | None = None  # returns the number, in place of ``value``

    def add(self, difference: int) -> None:
        self.value += difference
        self.peak = max(self.peak, self.value)

    @contextmanager
    def one_more(self) -> Iterator[None]:
        self.add(1)
        try:
            yield
        finally:
            self.add(-1)

    def now(self) -> int:
        return self.read() if self.read else self.value

    def family(self) -> Metric:
        return GaugeMetricFamily(self.name, self.help, value=self.now())


@dataclass(slots=True)
class Tally:
    """Counter with labels, for any thread."""

    name: str  # without Prometheus' "_total"
    help: str
    labels: tuple[str, ...]
    counts: dict[tuple[str, ...], float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, *values: str) -> None:
        self.add(1, *values)

    def add(self, amount: float, *values: str) -> None:
        with self._lock:
            self.counts[values] = self.counts.get(values, 0) + amount

    def family(self) -> Metric:
        found = CounterMetricFamily(self.name, self.help, labels=self.labels)
        for values, count in sorted(self.counts.items()):
            found.add_metric(values, count)
        return found


@dataclass(slots=True)
class Histograms:
    """Histograms with labels, one for each combination of labels, for any thread."""

    name: str
    help: str
    labels: tuple[str, ...]
    bounds: Sequence[float]
    each: dict[tuple[str, ...], Histogram] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def observe(self, value: float, *values: str) -> None:
        with self._lock:
            if values not in self.each:
                self.each[values] = Histogram(self.name, self.help, self.bounds)
            self.each[values].observe(value)

    def family(self) -> Metric:
        found = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for values, histogram in sorted(self.each.items()):
            found.add_metric(values, buckets=histogram.cumulated(), sum_value=histogram.sum)
        return found


first_token_seconds = Histogram(
    "parley_first_token_seconds",
    "From the stored question to the reply's first text.",
    (0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120),
)
delta_bytes = Histogram(
    "parley_delta_bytes",
    "UTF-8 bytes of one piece of text as the agent gave it.",
    (4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384),
)
delta_gap_seconds = Histogram(
    "parley_delta_gap_seconds",
    "Between two pieces of one reply's text, tools in between included.",
    (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)
journal_commit_seconds = Histogram(
    "parley_journal_commit_seconds",
    "One batch of the journal, from handing it over to its commit; waiting for the database included.",
    (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
)
journal_batch_events = Histogram(
    "parley_journal_batch_events",
    "Rows in one batch of the journal: run events and ADK events.",
    (1, 2, 5, 10, 20, 50, 100, 200, 500),
)
run_seconds = Histograms(
    "parley_run_seconds",
    "From the stored question to the run's end, by the status and the code that it ended with.",
    ("status", "code"),
    (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
)
active_runs = Level("parley_active_runs", "Runs that this process executes.")
open_streams = Level("parley_open_streams", "Event streams that are open.")
open_sockets_gauge = Level("parley_open_sockets", "WebSockets that are open.")
loop_late_milliseconds = Level(
    "parley_loop_late_milliseconds", "How late the event loop runs its callbacks, the mean of some seconds."
)
coalescing_milliseconds = Level(
    "parley_coalescing_milliseconds", "For how long the chunks of a model's answer gather at the moment."
)
open_calls_gauge = Level("parley_open_calls", "Spoken conversations that this process holds.")
call_seconds = Tally(
    "parley_call_seconds",
    "Seconds of sound in calls, from members (in) and from models (out).",
    ("direction",),
)
dropped_audio_bytes = Tally(
    "parley_dropped_audio_bytes", "Bytes of sound dropped, because a member's connection was too slow.", ()
)
unsent_bytes = Level("parley_unsent_bytes", "Bytes that wait in this process for slow readers, in total.")
paused_connections = Level(
    "parley_paused_connections", "Connections whose client reads too slowly at the moment."
)
refusals = Tally("parley_refusals", "Requests refused, by the code in the answer.", ("code",))
renders_given_up = Tally(
    "parley_renders_given_up",
    "Texts shown as they were written, since rendering them took too long (slow, late) or failed.",
    ("reason",),
)
responses = Tally("parley_responses", "HTTP answers by the class of their status.", ("status",))
loop_stalls = Tally(
    "parley_loop_stalls",
    "How often code blocked the event loop for more than a second, by agent.",
    ("agent",),
)
loop_stalled_seconds = Tally(
    "parley_loop_stalled_seconds", "How long code blocked the event loop in these stalls.", ("agent",)
)

HISTOGRAMS = (delta_bytes, delta_gap_seconds, journal_commit_seconds, journal_batch_events)
LEVELS = (active_runs, open_streams, open_sockets_gauge, open_calls_gauge, unsent_bytes, paused_connections)
ALL = (
    first_token_seconds,
    *HISTOGRAMS,
    run_seconds,
    *LEVELS,
    loop_late_milliseconds,
    coalescing_milliseconds,
    call_seconds,
    dropped_audio_bytes,
    refusals,
    renders_given_up,
    responses,
    loop_stalls,
    loop_stalled_seconds,
)


class _Instruments(Collector):
    def collect(self) -> Iterable[Metric]:
        for instrument in ALL:
            yield instrument.family()
        version = GaugeMetricFamily("parley_info", "This server's version; always 1.", labels=("version",))
        version.add_metric((settings.VERSION,), 1)
        yield version


# A separate registry: the default one has metrics of libraries.
registry = CollectorRegistry()
registry.register(_Instruments())
ProcessCollector(namespace="parley", registry=registry)
