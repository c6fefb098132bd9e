"""Instruments page of the admin: charts and tables of all processes over the last hours."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import quantiles
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from chat.admin.charts import Chart, Series
from chat.calls.models import LiveCall
from chat.files.comparison import hosts_without_shared_files
from chat.models import Message, Process, Run, Sample
from chat.samples import Sum

# Selectable hours, and the minutes of one time slice: 60 to 72 slices each.
WINDOWS = {1: 1, 6: 5, 24: 20, 48: 40}
DEFAULT_HOURS = 6
RUNS_READ = 5000  # of the newest: 40 ms on SQLite
FEEDBACK_READ = 5000  # of the newest
CALLS_READ = 5000  # of the newest
SAMPLES_READ = 12_000  # four processes for 48 hours: 120 ms
MedianAndP95 = tuple[float | None, float | None]
END_LABELS = (Run.Status.COMPLETED, Run.Status.STOPPED, Run.Status.FAILED, Run.Status.EXPIRED)


@dataclass(slots=True)
class EndedRuns:
    """Runs that ended in one time slice."""

    statuses: Counter[str] = field(default_factory=Counter)
    first_tokens: list[float] = field(default_factory=list)  # seconds
    durations: list[float] = field(default_factory=list)  # seconds


@dataclass(slots=True)
class TimeSlices:
    """Shown time in equal slices, the oldest first."""

    since: datetime
    step: timedelta
    ended: list[EndedRuns]
    sums: list[Sum]

    @classmethod
    def until(cls, now: datetime, hours: int) -> "TimeSlices":
        step = timedelta(minutes=WINDOWS[hours])
        number = int(timedelta(hours=hours) / step)
        parts = range(number)
        return cls(now - number * step, step, [EndedRuns() for _n in parts], [Sum() for _n in parts])

    def index(self, at: datetime) -> int:
        return min(len(self.sums) - 1, max(0, int((at - self.since) / self.step)))

    @property
    def times(self) -> list[str]:
        begins = (timezone.localtime(self.since + n * self.step) for n in range(len(self.sums)))
        return [f"{begin:%H:%M}" for begin in begins]


@never_cache
@require_safe
def instruments(request: HttpRequest) -> HttpResponse:
    """Show the hours in ``?hours=``, one of WINDOWS, to staff with the permission to view samples."""
    if not request.user.has_perm("chat.view_sample"):
        raise PermissionDenied
    asked = request.GET.get("hours", "")
    hours = int(asked) if asked in {str(each) for each in WINDOWS} else DEFAULT_HOURS
    slices = TimeSlices.until(timezone.now(), hours)
    runs, whole = _read_runs(slices), Sum()
    _read_samples(slices, whole)
    context = {
        **admin.site.each_context(request),
        "title": _("Instruments"),
        "hours": hours,
        "windows": list(WINDOWS),
        "figures": _figures(slices, whole),
        "charts": [*_run_charts(slices), *_sample_charts(slices)],
        "codes": _codes(runs),
        "feedback": _feedback(slices.since),
        "calls": _calls(slices.since),
        "refusals": sorted(whole.refusals.items(), key=lambda item: (-item[1], item[0])),
        "stalls": sorted(whole.stalls.items(), key=lambda item: (-item[1], item[0])),
        "hosts_without_shared_files": hosts_without_shared_files(),
        "processes": Process.objects.order_by("started_at")[:100],
        "limit": RUNS_READ if len(runs) == RUNS_READ else None,
    }
    return render(request, "admin/instruments/page.html", context)


def _read_runs(slices: TimeSlices) -> list[tuple[Any, ...]]:
    ended = Run.objects.counted().filter(ended_at__gte=slices.since).order_by("-ended_at")
    runs = list(ended.values_list("ended_at", "status", "code", "ttft_ms", "duration_ms")[:RUNS_READ])
    for at, status, _code, ttft_ms, duration_ms in runs:
        assert at is not None  # filtered by it
        ended_runs = slices.ended[slices.index(at)]
        ended_runs.statuses[status] += 1
        if ttft_ms is not None:
            ended_runs.first_tokens.append(ttft_ms / 1000)
        if duration_ms is not None:
            ended_runs.durations.append(duration_ms / 1000)
    return runs


def _read_samples(slices: TimeSlices, whole: Sum) -> None:
    found = Sample.objects.filter(at__gte=slices.since).order_by("-at")
    for process, at, figures in found.values_list("process", "at", "figures")[:SAMPLES_READ]:
        slices.sums[slices.index(at)].add(process, figures)
        whole.add(process, figures)


def _codes(runs: list[tuple[Any, ...]]) -> list[tuple[str, str, int]]:
    """Return status, code and number of the runs that ended with these, the most frequent first."""
    counted = Counter((status, code) for _at, status, code, *_rest in runs)
    return [(str(Run.Status(status).label), code, number) for (status, code), number in counted.most_common()]


def _feedback(since: datetime) -> list[tuple[str, int, int, float]]:
    """Return each agent with its numbers of good and bad feedback, and the share of good, in per cent."""
    rated = Message.objects.filter(feedback_at__gte=since).order_by("-feedback_at")
    counted = Counter(rated.values_list("conversation__agent", "feedback")[:FEEDBACK_READ])
    agents = sorted({agent for agent, _value in counted})
    pairs = [(agent, counted[agent, 1], counted[agent, -1]) for agent in agents]
    return [(agent, good, bad, 100 * good / (good + bad)) for agent, good, bad in pairs]


def _calls(since: datetime) -> list[tuple[str, int, int, float, float]]:
    """Return each agent with its numbers of calls and turns, and the minutes of sound in and out."""
    opened = LiveCall.objects.filter(opened_at__gte=since).order_by("-opened_at")
    sums: defaultdict[str, list[float]] = defaultdict(lambda: [0, 0, 0, 0])
    columns = opened.values_list("conversation__agent", "turns", "seconds_in", "seconds_out")
    for agent, *figures in columns[:CALLS_READ]:
        sums[agent] = [total + figure for total, figure in zip(sums[agent], [1, *figures], strict=True)]
    return [
        (agent, int(calls), int(turns), heard / 60, said / 60)
        for agent, (calls, turns, heard, said) in sorted(sums.items())
    ]


def _of_values(values: list[float]) -> MedianAndP95:
    if len(values) < 2:
        return (values[0], values[0]) if values else (None, None)
    percentiles = quantiles(values, n=100, method="inclusive")
    return percentiles[49], percentiles[94]


def _of_samples(samples: Sum, name: str, scale: float = 1) -> MedianAndP95:
    median, p95 = samples.quantile(name, 0.5), samples.quantile(name, 0.95)
    return median and median * scale, p95 and p95 * scale


def _figures(slices: TimeSlices, whole: Sum) -> list[tuple[str, float | None, float | None, str]]:
    """Return the rows of the first table: name, median, 95th percentile, unit."""
    first_tokens = [seconds for each in slices.ended for seconds in each.first_tokens]
    durations = [seconds for each in slices.ended for seconds in each.durations]
    return [
        (_("First text"), *_of_values(first_tokens), _("s")),
        (_("Run"), *_of_values(durations), _("s")),
        (_("Gap between two deltas"), *_of_samples(whole, "parley_delta_gap_seconds", 1000), _("ms")),
        (_("Size of a delta"), *_of_samples(whole, "parley_delta_bytes"), _("bytes")),
        (_("Commit of the journal"), *_of_samples(whole, "parley_journal_commit_seconds", 1000), _("ms")),
        (_("Rows in one commit"), *_of_samples(whole, "parley_journal_batch_events"), _("rows")),
    ]


def _run_charts(slices: TimeSlices) -> list[Chart]:
    ended, times = slices.ended, slices.times
    return [
        Chart(
            "runs",
            _("Runs"),
            _("How many runs ended, by their status."),
            _("ended"),
            times,
            [Series(status.label, [each.statuses[status] for each in ended]) for status in END_LABELS],
            stacked=True,
        ),
        Chart(
            "first-text",
            _("First text"),
            _("From the stored question to the first text of the reply."),
            _("seconds"),
            times,
            _median_and_p95([_of_values(each.first_tokens) for each in ended]),
        ),
        Chart(
            "duration",
            _("Duration of a run"),
            _("From the stored question to the run's end."),
            _("seconds"),
            times,
            _median_and_p95([_of_values(each.durations) for each in ended]),
        ),
    ]


def _sample_charts(slices: TimeSlices) -> list[Chart]:
    sums, times = slices.sums, slices.times

    def level(name: str) -> list[float | None]:
        return [float(each.levels[name]) if each.levels or each.histograms else None for each in sums]

    return [
        Chart(
            "deltas",
            _("Gap between two deltas"),
            _("The time between two pieces of a reply's text, as the agent gave them."),
            _("milliseconds"),
            times,
            _median_and_p95([_of_samples(each, "parley_delta_gap_seconds", 1000) for each in sums]),
        ),
        Chart(
            "commits",
            _("Commit of the journal"),
            _("How long text waits for its commit before it is shown."),
            _("milliseconds"),
            times,
            _median_and_p95([_of_samples(each, "parley_journal_commit_seconds", 1000) for each in sums]),
        ),
        Chart(
            "open",
            _("Open"),
            _("The most runs, streams, sockets and calls that were open at the same time, in all processes."),
            _("maximum"),
            times,
            [
                Series(_("runs"), level("parley_active_runs")),
                Series(_("streams"), level("parley_open_streams")),
                Series(_("sockets"), level("parley_open_sockets")),
                Series(_("calls"), level("parley_open_calls")),
            ],
        ),
        Chart(
            "unsent",
            _("Unsent"),
            _("Bytes that waited for slow readers at the end of the minute."),
            _("bytes"),
            times,
            [Series(_("unsent"), level("parley_unsent_bytes"))],
        ),
    ]


def _median_and_p95(pairs: list[MedianAndP95]) -> list[Series]:
    return [
        Series(_("median"), [median for median, _p95 in pairs]),
        Series(_("95th percentile"), [p95 for _median, p95 in pairs]),
    ]
