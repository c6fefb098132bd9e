"""Pages of lists, with a cursor for the next page that is opaque to clients."""

import base64
import binascii
import uuid
from datetime import UTC, datetime

from django.db.models import Q
from django.utils.translation import gettext as _

from chat import refusals
from chat.access import parse_id
from chat.models import Conversation, ConversationQuerySet

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


def page_of_conversations(
    found: ConversationQuerySet, cursor: str | None, limit: int
) -> tuple[list[Conversation], str | None]:
    """Return a page, the newest activity first, from ``cursor`` on; and the cursor of the next page."""
    ordered = found.order_by("-updated_at", "-id")
    if cursor:
        moment, conversation = _conversation_cursor(cursor)
        ordered = ordered.filter(Q(updated_at__lt=moment) | Q(updated_at=moment, id__lt=conversation))
    page = list(ordered[: limit + 1])
    more = len(page) > limit
    page = page[:limit]
    return page, encode_cursor(f"{page[-1].updated_at.isoformat()} {page[-1].pk}") if more else None


def _conversation_cursor(cursor: str) -> tuple[datetime, uuid.UUID]:
    moment, _space, conversation = _decode(cursor).partition(" ")
    found = parse_id(conversation)
    try:
        when = datetime.fromisoformat(moment)
        if found is None or when.tzinfo is None:
            raise _bad_cursor()
        return when.astimezone(UTC), found  # in the year 9999, UTC may overflow
    except (ValueError, OverflowError) as error:
        raise _bad_cursor() from error


def message_cursor(cursor: str) -> uuid.UUID:
    """Return the message that a page of messages ends with. Raises the 400 refusal."""
    found = parse_id(_decode(cursor))
    if found is None:
        raise _bad_cursor()
    return found


def encode_cursor(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _bad_cursor() from error


def _bad_cursor() -> refusals.Refusal:
    return refusals.malformed(_("cursor is not valid."))
