"""The list of conversations, in groups by date: as a part of the page, and alone for the page's script."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from operator import itemgetter
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.models import User
from accounts.statements import Statement
from chat.access import parse_id
from chat.http import paging
from chat.http.members import signed_in_user
from chat.models import Conversation, ConversationQuerySet

ENTRIES = 50  # of a page of the list
LOADED_MAX = 2000  # entries that a page reads again in one request


@dataclass(frozen=True, slots=True)
class Group:
    """Heading of entries. ``order`` is above all of them, and below those of the group before."""

    key: str
    label: str
    order: str


@dataclass(frozen=True, slots=True)
class Entry:
    """Conversation in the list; ``group`` is set if a group begins with it."""

    conversation: Conversation
    order: str  # entries and groups are in descending order of it
    group: Group | None


@never_cache
@require_GET
def conversation_list(request: HttpRequest) -> HttpResponse:
    """Show only the list: its first page, or the one at ``?list=<cursor>``.

    ``?through=<cursor>`` shows everything before the cursor, ``?ids=`` only these conversations, separated
    by commas. ``?open=`` names the conversation that the page shows. ``?archived=1`` is the list of archived
    ones.
    """
    member = signed_in_user(request)
    own, named = Conversation.objects.visible_to(member), parse_id(request.GET.get("open", ""))
    shown = own.filter(pk=named).first() if named else None
    return render(request, "chat/_conversations.html", list_context(request, member, shown))


def list_context(request: HttpRequest, member: User, shown: Conversation | None = None) -> dict[str, Any]:
    """Return the context of the list. The shown conversation is in it, also if it is further down."""
    query = request.GET
    is_archive = query.get("archived") == "1"
    if "ids" in query:
        ids = [pk for value in query["ids"].split(",") if (pk := parse_id(value))]
        parts = _own(member).filter(pk__in=ids).listed(archived=is_archive)
        found, more = [each for part in parts for each in part.order_by("-updated_at")], None
    elif query.get("through"):
        parts = _own(member).listed(archived=is_archive)
        found, more = paging.conversations_through(parts, query["through"], LOADED_MAX)
    else:
        cursor = query.get("list")
        found, more = paging.page_of_conversations(member, cursor, ENTRIES, archived=is_archive)
    end = _place(found[-1], is_archive=is_archive)[0] if more and found else ""
    is_missing = shown is not None and shown.pk not in {each.pk for each in found}
    if shown and is_missing and (shown.archived_at or not is_archive):
        found += _own(member).filter(pk=shown.pk)
    return {
        "entries": _entries(found, is_archive=is_archive),
        "more": more,
        "end": end,
        "day": timezone.localdate().isoformat(),
        "is_archive": is_archive,
        "is_first_page": not query.get("list"),
        "has_archived": is_archive or bool(_archived.all(member.pk)),
        "shown_pk": shown.pk if shown else None,
    }


def _own(member: User) -> ConversationQuerySet:
    return Conversation.objects.visible_to(member).with_marks(timezone.now())


_archived = Statement(
    lambda owner: (
        Conversation.objects.visible_to(owner).filter(archived_at__isnull=False).values_list("id")[:1]
    )
)


def _entries(found: Iterable[Conversation], *, is_archive: bool) -> list[Entry]:
    """Return the entries in order, the first one of each group with its heading."""
    placed = [(*_place(each, is_archive=is_archive), each) for each in found]
    placed.sort(key=itemgetter(0), reverse=True)
    entries: list[Entry] = []
    headings = set()
    for order, group, each in placed:
        entries.append(Entry(each, order, None if group.key in headings else group))
        headings.add(group.key)
    return entries


def _place(found: Conversation, *, is_archive: bool) -> tuple[str, Group]:
    """Return the order and the group of a conversation."""
    if found.archived_at and not is_archive:
        return f"0 {found.pk}", Group("archived", _("Archived"), "00")  # only the shown one
    place = f"{_stamp(found.updated_at)} {found.pk}"
    if found.pinned_at and not is_archive:
        return f"4 {place}", Group("pinned", _("Pinned"), "5")
    return f"2 {place}", _by_date(timezone.localtime(found.updated_at).date(), timezone.localdate())


def _by_date(day: date, today: date) -> Group:
    if day >= today:
        return Group("today", _("Today"), "3")
    if day == today - timedelta(1):
        return Group("yesterday", _("Yesterday"), _end_of(day))
    if day >= today - timedelta(7):
        return Group("week", _("Previous 7 days"), _end_of(today - timedelta(2)))
    if day >= today - timedelta(30):
        return Group("days", _("Previous 30 days"), _end_of(today - timedelta(8)))
    next_month = (day.replace(day=1) + timedelta(32)).replace(day=1)
    last = min(next_month - timedelta(1), today - timedelta(31))
    return Group(f"{day:%Y-%m}", date_format(day, "YEAR_MONTH_FORMAT"), _end_of(last))


def _end_of(day: date) -> str:
    return f"2 {_stamp(timezone.make_aware(datetime.combine(day + timedelta(1), time.min)))}"


def _stamp(moment: datetime) -> str:
    """Return a time in UTC whose alphabetical order is its order in time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
