"""The review queue in the admin: its filters, its order, and its pages."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import merge
from typing import Any, Self

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.models import User
from chat import moderated
from chat.access import parse_id
from chat.http import parsing
from chat.http.fields import Fields, Flag
from chat.http.paging import bad_cursor, decode_cursor, encode_cursor
from chat.moderated import ModerationReason
from chat.moderation.duties import MANAGE_RULES, VIEW_QUEUE, may_decide_about, staff_with
from chat.moderation.models import Appeal, Report, ReviewItem
from chat.moderation.reports import WEIGHTS

ROWS = 50
BADGE_MAX = 99  # a longer queue is "99+": nothing counts all of it
DAY = timedelta(days=1)
URGENT_FROM = max(WEIGHTS.values())
APPEALED = "appeal"  # as a source
AGES: dict[str, tuple[Promise, timedelta | None, timedelta | None]] = {
    "day": (gettext_lazy("Last 24 hours"), DAY, None),
    "week": (gettext_lazy("Last 7 days"), 7 * DAY, None),
    "older": (gettext_lazy("Older than 7 days"), None, 7 * DAY),
}


class QueueQuery(Fields):
    """Fields of the query string: filters, and the place that the page begins after."""

    source: str = ""
    reason: str = ""
    agent: str = ""
    age: str = ""
    status: str = ""
    mine: Flag = False
    after: str = ""

    @property
    def encoded(self) -> str:
        """The query string of these filters, without the place."""
        chosen = self.model_dump(exclude={"after", "mine"}) | {"mine": "true" if self.mine else ""}
        return urlencode({name: value for name, value in chosen.items() if value})

    @property
    def statuses(self) -> list[str]:
        return [self.status] if self.status in ReviewItem.Status.values else list(ReviewItem.UNDECIDED)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Place of an item in the queue: the highest priority first, then the oldest."""

    urgency: int  # its priority, negative
    opened_at: datetime
    pk: uuid.UUID

    @classmethod
    def of(cls, item: ReviewItem) -> Self:
        return cls(-item.priority, item.opened_at, item.pk)

    @classmethod
    def read(cls, cursor: str) -> Self:
        """Return the place that a cursor spells. Raises the 400 refusal."""
        priority, _space, rest = decode_cursor(cursor).partition(" ")
        moment, _space, item = rest.partition(" ")
        found = parse_id(item)
        try:
            when = datetime.fromisoformat(moment).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise bad_cursor() from error
        if found is None or not (priority.isascii() and priority.isdigit() and len(priority) < 10):
            raise bad_cursor()
        return cls(-int(priority), when, found)

    @property
    def cursor(self) -> str:
        return encode_cursor(f"{-self.urgency} {self.opened_at.isoformat()} {self.pk}")

    @property
    def rest(self) -> Q:
        """Condition of the items after it."""
        later = Q(opened_at__gt=self.opened_at) | Q(opened_at=self.opened_at, pk__gt=self.pk)
        return Q(priority__lte=-self.urgency) & (Q(priority__lt=-self.urgency) | later)

    @property
    def above(self) -> Q:
        """Condition of the items before it."""
        earlier = Q(opened_at__lt=self.opened_at) | Q(opened_at=self.opened_at, pk__lt=self.pk)
        return Q(priority__gte=-self.urgency) & (Q(priority__gt=-self.urgency) | earlier)


def items_for(staff: User) -> Any:
    """Return the items about which this person may decide: not their own, nor about staff or the owner."""
    if staff.is_superuser:
        return ReviewItem.objects.all()
    members = Q(member__is_staff=False, member__is_superuser=False)
    return ReviewItem.objects.filter(members | Q(member=staff) if _decides_alone(staff) else members)


def _decides_alone(staff: User) -> bool:
    return may_decide_about(staff, staff, VIEW_QUEUE)


def undecided_shown(staff: User) -> str:
    """Return the number of undecided items for a badge; empty without any."""
    found = items_for(staff).filter(status__in=ReviewItem.UNDECIDED)[: BADGE_MAX + 1].count()
    return f"{BADGE_MAX}+" if found > BADGE_MAX else str(found or "")


def found_by(staff: User, query: QueueQuery) -> Any:
    """Return the items that the filters leave, of every status."""
    found, now = items_for(staff), timezone.now()
    reported = Report.objects.filter(item=OuterRef("pk"))
    if query.source == APPEALED:
        found = found.filter(status=ReviewItem.Status.APPEALED)
    elif query.source in Report.Source.values:
        found = found.filter(Exists(reported.filter(source=query.source)))
    if query.reason in ModerationReason.values:
        appealed = Appeal.objects.filter(item=OuterRef("pk"), outcome="", decision__reason=query.reason)
        found = found.filter(Exists(reported.filter(reason=query.reason)) | Exists(appealed))
    if query.agent:
        found = found.filter(agent=query.agent)
    if query.age in AGES:
        _label, within, beyond = AGES[query.age]
        found = found.filter(opened_at__gte=now - within) if within else found
        found = found.filter(opened_at__lt=now - beyond) if beyond else found
    if query.mine:
        found = found.filter(claimed_by=staff, claimed_until__gt=now)
    return found


def in_order(
    found: Any, statuses: Iterable[str], limit: int, *, is_reversed: bool = False
) -> list[ReviewItem]:
    """Return the first items of these statuses, in the queue's order.

    One query for each status: its index has this order, and SQLite sorts all rows of several ones.
    """
    order = ("priority", "-opened_at", "-pk") if is_reversed else ("-priority", "opened_at", "pk")
    lists = [list(found.filter(status=status).order_by(*order)[:limit]) for status in statuses]
    return list(merge(*lists, key=Place.of, reverse=is_reversed))[:limit]


@dataclass(frozen=True, slots=True)
class QueueRow:
    """Line of the queue, without a name or a text of the member."""

    item: ReviewItem
    reasons: list[str]
    sources: list[str]
    is_claimed: bool
    may_claim: bool

    @property
    def is_urgent(self) -> bool:
        return self.item.priority >= URGENT_FROM


def rows_of(staff: User, items: list[ReviewItem]) -> list[QueueRow]:
    """Return the lines of these items, with two queries for all."""
    given: dict[uuid.UUID, list[tuple[str, str]]] = {item.pk: [] for item in items}
    reports = Report.objects.filter(item__in=items).order_by("reported_at", "pk")
    for key, source, reason in reports.values_list("item", "source", "reason"):
        given[key].append((str(Report.Source(source).label), reason))
    appeals = Appeal.objects.filter(item__in=items, outcome="")
    for key, reason in appeals.values_list("item", "decision__reason"):
        given[key].append((_("Appeal"), reason))
    now = timezone.now()
    rows = []
    for item in items:
        by_weight = sorted({reason for _source, reason in given[item.pk]}, key=lambda each: -WEIGHTS[each])
        is_claimed = bool(item.claimed_until and item.claimed_until > now)
        rows.append(
            QueueRow(
                item,
                [moderated.label_of(reason) for reason in by_weight],
                list(dict.fromkeys(source for source, _reason in given[item.pk])),
                is_claimed,
                may_claim=item.is_undecided
                and not is_claimed
                and (item.status != ReviewItem.Status.ESCALATED or staff.has_perm(MANAGE_RULES)),
            )
        )
    return rows


def neighbours(staff: User, query: QueueQuery, item: ReviewItem) -> tuple[uuid.UUID | None, uuid.UUID | None]:
    """Return the items before and after this one, by the filters."""
    found, place = found_by(staff, query), Place.of(item)
    before = in_order(found.filter(place.above), query.statuses, 1, is_reversed=True)
    after = in_order(found.filter(place.rest), query.statuses, 1)
    return before[0].pk if before else None, after[0].pk if after else None


@never_cache
@require_safe
def queue_page(request: HttpRequest) -> HttpResponse:
    """Show a page of the queue. Nobody's name and no text are in it before an item is claimed."""
    from chat.agent.agents import catalog  # takes 1 s, and every command imports this module

    staff = staff_with(request, VIEW_QUEUE)
    query = QueueQuery.read(parsing.query_fields(request))
    found = found_by(staff, query).select_related("claimed_by")
    if query.after:
        found = found.filter(Place.read(query.after).rest)
    items = in_order(found, query.statuses, ROWS + 1)
    shown = items[:ROWS]
    context = {
        **admin.site.each_context(request),
        "title": _("Review queue"),
        "rows": rows_of(staff, shown),
        "rest": Place.of(shown[-1]).cursor if len(items) > ROWS else "",
        "query": query,
        "sources": [*Report.Source.choices, (APPEALED, _("Appeal"))],
        "reasons": ModerationReason.choices,
        "agents": [agent.name for agent in catalog.all_agents()],
        "ages": [(value, label) for value, (label, _within, _beyond) in AGES.items()],
        "statuses": ReviewItem.Status.choices,
    }
    return render(request, "admin/moderation/queue.html", context)
