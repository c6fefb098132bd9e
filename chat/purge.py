"""Purge: conversations that were deleted DELETED_DAYS ago leave the database, batch by batch.

Those that KEEP_DAYS no longer keeps are deleted before.

A conversation is purged from its leaves on: events, requests, runs, messages, itself. What a process leaves
that dies meanwhile is purged by the next one.
"""

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from chat import actions, hooks
from chat.access import UNDO_MINUTES
from chat.files.models import Artifact, File
from chat.files.reading import HIDDEN_RUN
from chat.models import (
    Conversation,
    Message,
    PersonRequest,
    Purge,
    QueuedAsk,
    RequestLook,
    Run,
    RunEvent,
    SessionEvent,
)

# Rows that one transaction deletes: in 10 ms, and 0.1 s at most on a busy machine. On SQLite nobody else can
# write meanwhile.
PURGED_AT_ONCE = 200

# The tables whose rows leave with their conversation.
PURGED_MODELS = (
    RunEvent,
    SessionEvent,
    RequestLook,
    PersonRequest,
    QueuedAsk,
    Artifact,
    File,
    Run,
    Message,
    Conversation,
)


def due() -> QuerySet[Conversation]:
    """Return the conversations that are to be purged now."""
    kept = max(timedelta(days=settings.DELETED_DAYS), timedelta(minutes=UNDO_MINUTES))
    found = Conversation.objects.filter(deleted_at__lt=timezone.now() - kept)
    # A run that is being stopped still writes. The sweep ends one that nobody executes.
    return found.exclude(runs__status__in=Run.ACTIVE)


def too_old() -> QuerySet[Conversation]:
    """Return the conversations that KEEP_DAYS has deleted now; the default keeps all."""
    now, days = timezone.now(), dict(settings.KEEP_DAYS)
    others = days.pop("*", None)
    old = Q()
    for agent, kept in days.items():
        old |= Q(agent=agent, updated_at__lt=now - timedelta(days=kept))
    if others is not None:
        old |= Q(updated_at__lt=now - timedelta(days=others)) & ~Q(agent__in=days)
    if not old:
        return Conversation.objects.none()
    return Conversation.objects.filter(old, deleted_at=None).exclude(runs__status__in=Run.ACTIVE)


@transaction.atomic
def delete_one_that_is_too_old() -> bool:
    """Delete one conversation as its owner would. Return whether there was one."""
    # One in a transaction: several would lock the ledgers of their owners in any order, and could deadlock.
    found = too_old().select_for_update(of=("self",)).order_by("updated_at").first()
    if found is None:
        return False
    actions.mark_deleted(found)
    return True


def claim_day(pause: timedelta) -> uuid.UUID | None:
    """Return the id of this day's record, for ``purge_some``; None if a process purged within ``pause``."""
    now = timezone.now()
    try:
        with transaction.atomic():
            return Purge.objects.create(day=now.date(), last_at=now).pk
    except IntegrityError:  # this day has one
        idle = Purge.objects.filter(day=now.date(), last_at__lte=now - pause)
        return Purge.objects.get(day=now.date()).pk if idle.update(last_at=now) else None


@transaction.atomic
def purge_some(record: uuid.UUID) -> bool:
    """Delete one batch, and count it in the record. Return whether there was one."""
    conversation = due().order_by("deleted_at").values_list("pk", flat=True).first()
    if conversation is None:
        return False
    messages, conversations = delete_some(conversation)
    Purge.objects.filter(pk=record).update(
        last_at=timezone.now(),
        messages=F("messages") + messages,
        conversations=F("conversations") + conversations,
    )
    return True


def delete_some(conversation: uuid.UUID) -> tuple[int, int]:
    """Delete some rows of a conversation; return how many messages and conversations they were.

    Call it in a transaction. Precondition: the conversation has no active run.
    """
    beside: tuple[QuerySet[Any], ...] = (
        RunEvent.objects.filter(run__conversation=conversation),
        SessionEvent.objects.filter(run__conversation=conversation),
        RequestLook.objects.filter(request__run__conversation=conversation),
        PersonRequest.objects.filter(run__conversation=conversation),
        QueuedAsk.objects.filter(conversation=conversation),
        Artifact.objects.filter(conversation=conversation),  # they refer to their files
        File.objects.filter(conversation=conversation),
        # ``user:`` artifacts outlive the conversation. Without the run no one would know that it was hidden.
        Artifact.objects.filter(HIDDEN_RUN, conversation=None, run__conversation=conversation),
        File.objects.filter(HIDDEN_RUN, conversation=None, run__conversation=conversation),
        *(model._default_manager.filter(conversation=conversation) for model in hooks.models_of_conversation),
    )
    for rows in beside:
        if ids := list(rows.values_list("pk", flat=True)[:PURGED_AT_ONCE]):
            rows.model._base_manager.filter(pk__in=ids).delete()
            return 0, 0
    messages = Message.objects.filter(conversation=conversation)
    if ids := list(messages.exclude(run=None).values_list("pk", flat=True)[:PURGED_AT_ONCE]):
        Message.objects.filter(pk__in=ids).update(run=None)
        return 0, 0
    if ids := list(
        Run.objects.filter(conversation=conversation).values_list("pk", flat=True)[:PURGED_AT_ONCE]
    ):
        Run.objects.filter(pk__in=ids).delete()
        return 0, 0
    Conversation.objects.filter(pk=conversation).exclude(head=None).update(head=None)
    if ids := list(messages.values_list("pk", flat=True)[:PURGED_AT_ONCE]):
        # Otherwise Django would read and delete all that follows them, in this transaction.
        Message.objects.filter(parent__in=ids).update(parent=None)
        Message.objects.filter(pk__in=ids).delete()
        return len(ids), 0
    Conversation.objects.filter(pk=conversation).delete()
    return 0, 1
