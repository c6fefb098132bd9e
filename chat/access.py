"""The one gate: every object a request names comes through here, or is not there."""

import re
import uuid
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from chat import refusals
from chat.models import Conversation, Message, Run

M = TypeVar("M", bound=Model)

# Python's UUID() also takes braces, "urn:uuid:" and no hyphens; we do not.
CANONICAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def parse_id(value: str | uuid.UUID) -> uuid.UUID | None:
    """The id that ``value`` spells in its canonical form, lower case; else None."""
    if isinstance(value, uuid.UUID):
        return value
    return uuid.UUID(value) if CANONICAL.fullmatch(value) else None


def access_conversation(user: Any, conversation: str | uuid.UUID, *, lock: bool = False) -> Conversation:
    """The member's own conversation, not deleted. Raises the 404 refusal."""
    found = _first(Conversation.objects.visible_to(user), conversation, lock=lock)
    if found is None:
        raise refusals.not_found()
    return found


def access_run(user: Any, run: str | uuid.UUID) -> Run:
    """A run of one of the member's own conversations. Raises the 404 refusal."""
    found = _first(Run.objects.visible_to(user).select_related("conversation"), run)
    if found is None:
        raise refusals.not_found()
    return found


def access_prompt(user: Any, message: str | uuid.UUID) -> Message:
    """An own message of the member, in one of the member's own conversations. Raises the 404 refusal."""
    own = Message.objects.filter(conversation__owner=user, conversation__deleted_at=None)
    found = _first(own.select_related("conversation"), message)
    if found is None:
        raise refusals.not_found()
    return found


def access_message(conversation: Conversation, message: str | uuid.UUID) -> Message:
    """A message of this conversation. Raises the 404 refusal."""
    found = _first(conversation.messages.all(), message)
    if found is None:
        raise refusals.not_found()
    return found


def _first(queryset: QuerySet[M], value: str | uuid.UUID, *, lock: bool = False) -> M | None:
    found_id = parse_id(value)
    if found_id is None:
        return None
    if lock:
        queryset = queryset.select_for_update()
    return queryset.filter(pk=found_id).first()
