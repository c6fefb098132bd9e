"""Pages of lists, with a cursor for the next page that is opaque to clients."""

import base64
import binascii
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

from django.db.models import Model, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.statements import Statement
from chat import refusals
from chat.access import parse_id
from chat.models import Conversation, ConversationQuerySet

M = TypeVar("M", bound=Model)

DEFAULT_LIMIT = 30
MAX_LIMIT = 100


def limit_of(value: str | None) -> int:
    """Return a page's size from the query string. Raises the 400 refusal."""
    if value is None:
        return DEFAULT_LIMIT
    if not (value.isascii() and value.isdigit() and len(value) <= 3 and 1 <= int(value) <= MAX_LIMIT):
        raise refusals.malformed(
            _("limit must be a whole number from 1 to %(maximum)s.") % {"maximum": MAX_LIMIT}
        )
    return int(value)


def page_of_newest(
    found: QuerySet[M], moment: str, cursor: str | None, limit: int
) -> tuple[list[M], str | None]:
    """Return a page of rows, from ``cursor`` on, and the cursor of the next page. Raises the 400 refusal.

    The newest come first, by the column ``moment``.
    """
    if cursor:
        at, last = _moment_and_id(decode_cursor(cursor))
        found = found.filter(Q(**{f"{moment}__lt": at}) | Q(**{moment: at, "pk__lt": last}))
    page = list(found.order_by(f"-{moment}", "-pk")[: limit + 1])
    if len(page) <= limit:
        return page, None
    end = page[limit - 1]
    return page[:limit], encode_cursor(f"{getattr(end, moment).isoformat()} {end.pk}")


def page_of_conversations(
    owner: User, cursor: str | None, limit: int, *, archived: bool
) -> tuple[list[Conversation], str | None]:
    """Return a page of the owner's list with its marks, from ``cursor`` on, and the cursor of the next page.

    The list is its parts one after another, each with the newest activity first.
    """
    now = timezone.now()
    first, *last = _conversation_cursor(cursor) if cursor else (0,)
    page: list[tuple[int, Conversation]] = []
    for number in range(first, 1 if archived else 2):
        after = last if number == first else []
        found = _part(number, limit + 1, archived, bool(after)).all(owner.pk, now, *after)
        page += [(number, each) for each in found[: limit + 1 - len(page)]]
    more = len(page) > limit
    page = page[:limit]
    return [each for _number, each in page], _cursor_of(*page[-1]) if more else None


@lru_cache
def _part(number: int, limit: int, archived: bool, is_after: bool) -> Statement[Conversation]:
    """Return the query of a page for one part of the list; ``is_after``: from a cursor on."""

    def build(owner: int, now: datetime, *after: Any) -> QuerySet[Conversation]:
        own = Conversation.objects.visible_to(owner).with_marks(now)
        part = own.listed(archived=archived)[number].order_by("-updated_at", "-id")
        if is_after:
            moment, last = after
            part = part.filter(Q(updated_at__lt=moment) | Q(updated_at=moment, id__lt=last))
        return part[:limit]

    return Statement(build)


def conversations_through(
    parts: Sequence[ConversationQuerySet], cursor: str, limit: int
) -> tuple[list[Conversation], str | None]:
    """Return the list from its start to the end of the page before ``cursor``, and a cursor for the rest."""
    last_part, moment, last = _conversation_cursor(cursor)
    found: list[tuple[int, Conversation]] = []
    for number, part in enumerate(parts[: last_part + 1]):
        ordered = part.order_by("-updated_at", "-id")
        if number == last_part:
            ordered = ordered.filter(Q(updated_at__gt=moment) | Q(updated_at=moment, id__gte=last))
        found += [(number, each) for each in ordered[: limit - len(found)]]
    cut = len(found) == limit
    return [each for _number, each in found], _cursor_of(*found[-1]) if cut else cursor


def _cursor_of(part: int, conversation: Conversation) -> str:
    return encode_cursor(f"{part} {conversation.updated_at.isoformat()} {conversation.pk}")


def _conversation_cursor(cursor: str) -> tuple[int, datetime, uuid.UUID]:
    part, _space, place = decode_cursor(cursor).partition(" ")
    if part not in ("0", "1"):
        raise bad_cursor()
    return int(part), *_moment_and_id(place)


def _moment_and_id(place: str) -> tuple[datetime, uuid.UUID]:
    moment, _space, spelled = place.partition(" ")
    found = parse_id(spelled)
    try:
        when = datetime.fromisoformat(moment)
        if found is None or when.tzinfo is None:
            raise bad_cursor()
        return when.astimezone(UTC), found  # in the year 9999, UTC may overflow
    except (ValueError, OverflowError) as error:
        raise bad_cursor() from error


def message_cursor(cursor: str) -> uuid.UUID:
    """Return the message that a page of messages ends with. Raises the 400 refusal."""
    found = parse_id(decode_cursor(cursor))
    if found is None:
        raise bad_cursor()
    return found


def search_cursor(cursor: str) -> tuple[int, uuid.UUID]:
    """Return the place of a search's last hit. Raises the 400 refusal."""
    entry, _space, source = decode_cursor(cursor).partition(" ")
    found = parse_id(source)
    if found is None or not (entry.isascii() and entry.isdigit() and len(entry) <= 18):
        raise bad_cursor()
    return int(entry), found


def encode_cursor(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """Return the place that ``encode_cursor`` was given. Raises the 400 refusal."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise bad_cursor() from error


def bad_cursor() -> refusals.Refusal:
    return refusals.malformed(_("cursor is not valid."))
