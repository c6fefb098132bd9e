"""The one gate: every object a request names comes through here, or is not there."""

import re
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from chat import refusals
from chat.models import Conversation, Message, Run

M = TypeVar("M", bound=Model)

# Asked each time that staff opens somebody's conversation. Raises PermissionDenied, or a refusal.
TranscriptPolicy = Callable[[HttpRequest, Conversation], None]
_transcript_policies: list[TranscriptPolicy] = []

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


def access_conversation_now(user: Any, conversation: str | uuid.UUID) -> tuple[Conversation, Run | None]:
    """The same, and the run that answers in it. Raises the 404 refusal.

    Its head and that run are of one moment, one statement: a run that ends between two would leave its reply
    in neither of them.
    """
    found = _first(Conversation.objects.visible_to(user).with_active_run(), conversation)
    if found is None:
        raise refusals.not_found()
    run: uuid.UUID | None = getattr(found, "active_run", None)
    return found, Run.objects.select_related("conversation").get(pk=run) if run else None


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


def register_transcript_policy(policy: TranscriptPolicy) -> TranscriptPolicy:
    """One more that has to agree before a transcript opens: policies only ever tighten."""
    _transcript_policies.append(policy)
    return policy


def open_transcript(request: HttpRequest, conversation: str | uuid.UUID) -> Conversation:
    """Somebody's conversation, for staff that may review: the one way to it that is not its owner's.

    Raises PermissionDenied without the permission, whether or not there is such a conversation; the 404
    refusal where there is none, or where it was deleted; and what a registered policy raises.
    """
    user: Any = request.user
    if not (user.is_active and user.is_staff and user.has_perm("chat.view_conversation")):
        raise PermissionDenied
    found = _first(Conversation.objects.reviewable().select_related("owner"), conversation)
    if found is None:
        raise refusals.not_found()
    for policy in _transcript_policies:
        policy(request, found)
    return found


def _first(queryset: QuerySet[M], value: str | uuid.UUID, *, lock: bool = False) -> M | None:
    found_id = parse_id(value)
    if found_id is None:
        return None
    if lock:
        queryset = queryset.select_for_update()
    return queryset.filter(pk=found_id).first()
