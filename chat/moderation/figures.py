"""Figures of the review queue: a page for staff, and the items behind it as a table for spreadsheets."""

import csv
import io
import uuid
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from statistics import quantiles
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, Q
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.models import User
from chat.admin.charts import Chart, Series
from chat.database import run_db
from chat.moderated import ModerationReason
from chat.moderation import audit
from chat.moderation.duties import EXPORT_DATA, VIEW_AUDIT, VIEW_QUEUE, staff_with
from chat.moderation.models import Appeal, Decision, Report, ReviewItem

DAYS = 30
DECIDED_READ = 5_000  # of the newest decided items, for times
ITEMS_AT_ONCE = 500  # that the export reads
ITEM_COLUMNS = (
    "item", "status", "agent", "conversation", "message", "priority", "sources", "reasons", "opened_at",
    "decided_at", "decisions", "appeal",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a spreadsheet begins to calculate

MedianAndP90 = tuple[float | None, float | None]  # seconds


@dataclass(frozen=True, slots=True)
class Decided:
    """A decided item."""

    at: datetime
    seconds: float  # from its opening
    by: int | None


@dataclass(frozen=True, slots=True)
class ModeratorFigures:
    """Figures of one moderator; without a name the account is erased."""

    name: str
    decided: int
    overturned: int  # decisions, by appeals
    median: float | None  # seconds to a decision


def may_see_figures(user: User) -> bool:
    return user.has_perm(VIEW_QUEUE) or user.has_perm(VIEW_AUDIT)


# --- the page -------------------------------------------------------------------------------------


@never_cache
@require_safe
def figures_page(request: HttpRequest) -> HttpResponse:
    """Show the figures of the last DAYS days; those of each moderator only with VIEW_AUDIT."""
    staff = _reader(request)
    since = _since()
    days, sources = _days(since), Report.Source.choices
    decided = _decided(since)
    opened, closed = _items_by_day("opened_at", days), _items_by_day("decided_at", days)
    reports_by_day, reports_by_kind = _reports(days)
    context = {
        **admin.site.each_context(request),
        "title": _("Figures of the review queue"),
        "days": DAYS,
        "times": [
            (_("Age of what is not decided"), *map(shown_time, _age())),
            (
                _("Time to a decision"),
                *map(shown_time, median_and_p90([each.seconds for each in decided])),
            ),
        ],
        "totals": [
            (_("Not decided"), ReviewItem.objects.undecided().count()),
            (_("Opened"), sum(opened)),
            (_("Decided"), sum(closed)),
        ],
        "charts": _charts(days, opened, closed, decided, reports_by_day),
        "sources": [label for _source, label in sources],
        "reasons": [
            (label, [reports_by_kind[source, reason] for source, _label in sources])
            for reason, label in ModerationReason.choices
        ],
        "decisions": _decisions(since),
        "appeals": _appeals(since),
        "moderators": _moderators(since, decided) if staff.has_perm(VIEW_AUDIT) else None,
        "may_export": staff.has_perm(EXPORT_DATA),
        "limit": DECIDED_READ if len(decided) == DECIDED_READ else None,
    }
    return render(request, "admin/moderation/figures.html", context)


def _reader(request: HttpRequest, *permissions: str) -> User:
    """Return the signed-in staff who may see figures. Raises PermissionDenied."""
    staff = staff_with(request, *permissions)
    if not may_see_figures(staff):
        raise PermissionDenied
    return staff


def _since() -> datetime:
    """Return the beginning of the first of the shown days, for the reader."""
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=DAYS - 1)


def _age() -> MedianAndP90:
    """Return the age of the undecided items. The database sorts: only two of them are read."""
    newest_first = ReviewItem.objects.undecided().order_by("-opened_at").values_list("opened_at", flat=True)
    count, now = newest_first.count(), timezone.now()
    if not count:
        return None, None
    at = [newest_first[round(part * (count - 1))] for part in (0.5, 0.9)]
    return (now - at[0]).total_seconds(), (now - at[1]).total_seconds()


def median_and_p90(seconds: Sequence[float]) -> MedianAndP90:
    if len(seconds) < 2:
        return (seconds[0], seconds[0]) if seconds else (None, None)
    tenths = quantiles(seconds, n=10, method="inclusive")
    return tenths[4], tenths[8]


def shown_time(seconds: float | None) -> str:
    """Return a length of time in minutes, hours or days; empty for none."""
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    if minutes < 120:
        return ngettext("%(number)s minute", "%(number)s minutes", minutes) % {"number": minutes}
    hours = round(minutes / 60)
    if hours < 48:
        return ngettext("%(number)s hour", "%(number)s hours", hours) % {"number": hours}
    days = round(hours / 24)
    return ngettext("%(number)s day", "%(number)s days", days) % {"number": days}


def _decided(since: datetime) -> list[Decided]:
    """Return the newest DECIDED_READ of the items that were decided since then."""
    found = ReviewItem.objects.filter(decided_at__gte=since).order_by("-decided_at")
    rows = found.values_list("decided_at", "opened_at", "decided_by")[:DECIDED_READ]
    return [
        Decided(at, max(0.0, (at - opened).total_seconds()), by) for at, opened, by in rows if at is not None
    ]


def _days(since: datetime) -> list[datetime]:
    """Return the beginnings of the shown days, for the reader, and the end of the last one."""
    return [
        timezone.make_aware(datetime.combine(since.date() + timedelta(days=n), time()))
        for n in range(DAYS + 1)
    ]


def _counts_since(column: str, days: Sequence[datetime]) -> dict[str, Count]:
    """Return aggregates that count the rows from the beginning of each day on.

    To truncate each time to its day would call Python for each row on SQLite.
    """
    return {f"since_{n}": Count("pk", filter=Q(**{f"{column}__gte": day})) for n, day in enumerate(days)}


def _by_day(row: dict[str, Any]) -> list[int]:
    return [row[f"since_{n}"] - row[f"since_{n + 1}"] for n in range(DAYS)]


def _items_by_day(column: str, days: Sequence[datetime]) -> list[int]:
    recent = ReviewItem.objects.filter(**{f"{column}__gte": days[0]})
    return _by_day(recent.aggregate(**_counts_since(column, days)))


def _reports(days: Sequence[datetime]) -> tuple[dict[str, list[int]], Counter[tuple[str, str]]]:
    """Return the numbers of reports of each day by source, and all by source and reason."""
    reports = Report.objects.filter(reported_at__gte=days[0]).order_by()
    by_day = {source: [0] * DAYS for source in Report.Source.values}
    by_kind: Counter[tuple[str, str]] = Counter()
    rows: Iterable[Any] = reports.values("source", "reason").annotate(**_counts_since("reported_at", days))
    for row in rows:
        numbers = _by_day(row)
        by_day[row["source"]] = list(map(sum, zip(by_day[row["source"]], numbers, strict=True)))
        by_kind[row["source"], row["reason"]] = sum(numbers)
    return by_day, by_kind


def _charts(
    days: Sequence[datetime],
    opened: Sequence[int],
    closed: Sequence[int],
    decided: Sequence[Decided],
    reports: dict[str, list[int]],
) -> list[Chart]:
    names = [date_format(timezone.localtime(day), "j M") for day in days[:-1]]
    seconds: list[list[float]] = [[] for _day in names]
    for each in decided:
        seconds[min(DAYS, bisect_right(days, each.at)) - 1].append(each.seconds)
    hours = [[value and value / 3600 for value in median_and_p90(some)] for some in seconds]
    return [
        Chart(
            "items",
            _("Items"),
            _("How many items were opened and decided on each day."),
            _("a day"),
            names,
            [
                Series(_("opened"), opened),
                Series(_("decided"), closed),
            ],
        ),
        Chart(
            "time-to-decision",
            _("Time to a decision"),
            _("From the opening of an item to its decision, by the day of the decision."),
            _("hours"),
            names,
            [
                Series(_("median"), [median for median, _p90 in hours]),
                Series(_("90th percentile"), [p90 for _median, p90 in hours]),
            ],
        ),
        Chart(
            "reports",
            _("Reports"),
            _("How many reports came on each day, by their source."),
            _("a day"),
            names,
            [Series(label, reports[source]) for source, label in Report.Source.choices],
            stacked=True,
        ),
    ]


def _decisions(since: datetime) -> list[tuple[str, int, int]]:
    """Return the label of each kind, the number of its decisions, and of those that were taken back."""
    rows = Decision.objects.filter(decided_at__gte=since).order_by().values_list("kind")
    counted = rows.annotate(n=Count("pk"), ended=Count("pk", filter=Q(ended_at__isnull=False)))
    found = {kind: (n, ended) for kind, n, ended in counted}
    return [(str(label), *found.get(kind, (0, 0))) for kind, label in Decision.Kind.choices]


def _appeals(since: datetime) -> list[tuple[str, int]]:
    decided = Q(decided_at__gte=since)
    found = Appeal.objects.filter(Q(appealed_at__gte=since) | decided | Q(outcome="")).aggregate(
        came=Count("pk", filter=Q(appealed_at__gte=since)),
        waiting=Count("pk", filter=Q(outcome="")),
        upheld=Count("pk", filter=decided & Q(outcome=Appeal.Outcome.UPHELD)),
        overturned=Count("pk", filter=decided & Q(outcome=Appeal.Outcome.OVERTURNED)),
    )
    return [
        (_("Appeals"), found["came"]),
        (_("Not decided"), found["waiting"]),
        (_("The decision stayed"), found["upheld"]),
        (_("The decision was taken back"), found["overturned"]),
    ]


def _moderators(since: datetime, decided: Sequence[Decided]) -> list[ModeratorFigures]:
    """Return the figures of each moderator who decided something, the most first."""
    seconds: defaultdict[int | None, list[float]] = defaultdict(list)
    for each in decided:
        seconds[each.by].append(each.seconds)
    recent = ReviewItem.objects.filter(decided_at__gte=since).order_by()
    numbers: dict[int | None, int] = dict(recent.values_list("decided_by").annotate(n=Count("pk")))
    lost = Appeal.objects.filter(outcome=Appeal.Outcome.OVERTURNED, decided_at__gte=since).order_by()
    overturned: dict[int | None, int] = dict(lost.values_list("decision__decided_by").annotate(n=Count("pk")))
    named = numbers.keys() | overturned.keys()
    known = [pk for pk in named if pk is not None]
    names = dict(User.objects.filter(pk__in=known).values_list("pk", "username"))
    found = [
        ModeratorFigures(
            names.get(pk or 0, ""),
            numbers.get(pk, 0),
            overturned.get(pk, 0),
            median_and_p90(seconds[pk])[0],
        )
        for pk in named
    ]
    return sorted(found, key=lambda each: (-each.decided, each.name))


# --- the export -----------------------------------------------------------------------------------


@never_cache
@require_POST
def export_figures(request: HttpRequest) -> StreamingHttpResponse:
    """Send the items of the last DAYS days as CSV, one a row: ids and codes. The export itself is recorded.

    The name of the decider is a column for staff with VIEW_AUDIT only.
    """
    staff = _reader(request, EXPORT_DATA)
    audit.record("queue.export", actor=staff, object_type="queue")
    chunks = _chunks(_since(), with_names=staff.has_perm(VIEW_AUDIT))
    response = StreamingHttpResponse(chunks, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="review-items.csv"'
    return response


async def _chunks(since: datetime, *, with_names: bool) -> AsyncIterator[str]:
    columns = (*ITEM_COLUMNS, "decided_by") if with_names else ITEM_COLUMNS
    yield "\ufeff" + csv_of([columns])  # without the mark, Excel takes UTF-8 for another encoding
    last = uuid.UUID(int=0)
    while batch := await run_db(_batch, since, last):
        yield csv_of([_cells(item, with_names=with_names) for item in batch])
        last = batch[-1].pk


def _batch(since: datetime, last: uuid.UUID) -> list[Any]:
    recent = ReviewItem.objects.filter(Q(opened_at__gte=since) | Q(decided_at__gte=since), pk__gt=last)
    found = recent.annotate(decider=F("decided_by__username")).order_by("pk")
    return list(found.prefetch_related("reports", "decisions", "appeals")[:ITEMS_AT_ONCE])


def _cells(item: Any, *, with_names: bool) -> list[Any]:
    appeals = sorted(item.appeals.all(), key=lambda each: each.appealed_at)
    cells = [
        item.pk,
        item.status,
        item.agent,
        item.conversation_id or "",
        item.message_id or "",
        item.priority,
        _codes(each.source for each in item.reports.all()),
        _codes(each.reason for each in item.reports.all()),
        audit.canonical(item.opened_at),
        audit.canonical(item.decided_at) or "",
        _codes(each.kind for each in item.decisions.all()),
        (appeals[-1].outcome or "open") if appeals else "",
    ]
    return [*cells, item.decider or ""] if with_names else cells


def _codes(values: Iterable[str]) -> str:
    return " ".join(sorted(set(values)))


def csv_of(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV in which nothing is a formula: such a cell begins with an apostrophe."""
    found = io.StringIO()
    csv.writer(found).writerows([safe_cell(str(value)) for value in row] for row in rows)
    return found.getvalue()


def safe_cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
