"""Lookup of every object that a request names. An object that the user may not see raises 404."""

import re
import uuid
from datetime import timedelta
from typing import TypeVar

from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import User
from accounts.statements import Statement
from chat import hooks, refusals
from chat.models import Conversation, Message, Run

M = TypeVar("M", bound=Model)
F = TypeVar("F")

UNDO_MINUTES = 10  # a deletion can be undone

# Python's UUID() also accepts braces, "urn:uuid:" and missing hyphens.
CANONICAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def parse_id(value: str | uuid.UUID) -> uuid.UUID | None:
    """Return the id that ``value`` spells in its canonical form, lower case; otherwise None."""
    if isinstance(value, uuid.UUID):
        return value
    return uuid.UUID(value) if CANONICAL.fullmatch(value) else None


def required_id(value: str) -> uuid.UUID:
    """Return the id that a path spells. Raises the 404 refusal if it is malformed."""
    return _found(parse_id(value))


def access_conversation(user: User, conversation: str | uuid.UUID) -> Conversation:
    """Return the user's own conversation, if it is not deleted. Raises the 404 refusal."""
    found_id = parse_id(conversation)
    return _found(_own.first(user.pk, found_id) if found_id else None)


def lock_conversation(
    user: User, conversation: uuid.UUID | None, *, message: uuid.UUID | None
) -> tuple[Conversation, Message | None] | None:
    """Lock the user's own conversation, and return it with one of its messages, if one is named.

    Without ``conversation`` it is that of the message. Returns None if it is not the user's, is deleted, or
    has no such message.
    """
    named = _message.first(message) if message else None
    if message and (named is None or conversation not in (None, named.conversation_id)):
        return None
    pk = named.conversation_id if named else conversation
    found = _own_locked.first(user.pk, pk) if pk else None
    return (found, named) if found else None


def access_conversation_now(user: User, conversation: str | uuid.UUID) -> tuple[Conversation, Run | None]:
    """Return the user's own conversation and its active run. Raises the 404 refusal."""
    # Read head and active run in one query. With two, a run that ends in between shows up in neither.
    found_id = parse_id(conversation)
    found = _found(_own_now.first(user.pk, found_id) if found_id else None)
    run: uuid.UUID | None = getattr(found, "active_run", None)
    return found, Run.objects.select_related("conversation").get(pk=run) if run else None


def restorable(user: User, conversation: str | uuid.UUID) -> QuerySet[Conversation]:
    """Return the user's own conversation, if its deletion can still be undone: one or none."""
    named = parse_id(conversation)
    if named is None:
        return Conversation.objects.none()
    since = timezone.now() - timedelta(minutes=UNDO_MINUTES)
    return Conversation.objects.filter(pk=named, owner=user, deleted_at__gt=since)


def access_run(user: User, run: str | uuid.UUID) -> Run:
    """Return a run of one of the user's own conversations. Raises the 404 refusal."""
    return _get(Run.objects.visible_to(user).select_related("conversation"), run)


def access_message(conversation: Conversation, message: str | uuid.UUID) -> Message:
    """Return a message of this conversation. Raises the 404 refusal."""
    return _get(conversation.messages.all(), message)


def access_reply(user: User, message: str | uuid.UUID) -> Message:
    """Return a reply in one of the user's own conversations. Raises the 404 refusal."""
    own = Message.objects.filter(
        role=Message.Role.ASSISTANT,
        conversation__owner=user,
        conversation__deleted_at=None,
        hidden_at=None,
    )
    return _get(own.select_related("conversation"), message)


def access_as_staff(request: HttpRequest, conversation: str | uuid.UUID) -> Conversation:
    """Return a conversation of any member, deleted ones too, for staff who may see such facts.

    Raises PermissionDenied without the permission, whether or not the conversation exists; the 404 refusal
    if it does not exist. Its text is shown only after ``may_look``.
    """
    user = request.user
    if not (user.is_active and user.is_staff and user.has_perm("chat.view_conversation")):
        raise PermissionDenied
    return _get(Conversation.objects.select_related("owner"), conversation)


def may_look(request: HttpRequest, conversation: Conversation) -> bool:
    """Return whether staff may see the conversation's text now. If so, this look is stored and committed.

    Nothing else opens a foreign conversation.
    """
    return any(may(request, conversation) for may in hooks.looks)


def may_watch(request: HttpRequest) -> bool:
    """Return whether pages of staff link to the page of a running reply, which checks more than this."""
    return any(may(request) for may in hooks.watches)


def _get(queryset: QuerySet[M], value: str | uuid.UUID) -> M:
    found_id = parse_id(value)
    return _found(queryset.filter(pk=found_id).first() if found_id else None)


def _found(found: F | None) -> F:
    if found is None:
        raise refusals.not_found()
    return found


_own = Statement(lambda owner, pk: Conversation.objects.visible_to(owner).filter(pk=pk))
_own_locked = Statement(
    lambda owner, pk: Conversation.objects.visible_to(owner).select_for_update().filter(pk=pk)
)
_message = Statement(lambda pk: Message.objects.filter(pk=pk))
_own_now = Statement(lambda owner, pk: Conversation.objects.visible_to(owner).with_active_run().filter(pk=pk))
