"""Artifacts as their member sees them: the versions of a conversation's active branch."""

import uuid
from itertools import pairwise
from typing import Any

from django.db.models import F, Q, QuerySet

from chat.events import rfc3339
from chat.files.models import Artifact
from chat.files.reading import HIDDEN_RUN
from chat.models import BRANCH_MAX, Conversation, Message, Run


def versions_on_branch(conversation: Conversation) -> QuerySet[Artifact]:
    """Return the versions with bytes on the active branch, newest first.

    ADK's ``user:`` ones of the same agent, which the member's conversations share, are among them. Left out
    are those of another branch, of an abandoned attempt, and of a run that a moderator has hidden.
    """
    runs = _runs_on_branch(conversation)
    here = Q(conversation=conversation) & (Q(run__in=runs) | Q(run=None))
    of_member = Q(conversation=None, owner=conversation.owner_id, agent=conversation.agent)
    found = Artifact.objects.filter(here | of_member, Q(run=None) | Q(attempt=F("run__attempt")))
    found = found.filter(owner=conversation.owner_id, file__blob__isnull=False).exclude(HIDDEN_RUN)
    return found.select_related("file").order_by("-created_at", "-version")


def artifact_json(artifact: Artifact) -> dict[str, Any]:
    """Return a version with bytes as clients receive it."""
    assert artifact.file
    return {
        "name": artifact.name,
        "version": artifact.version,
        "file": str(artifact.file_id),
        "mime": artifact.file.mime,
        "size": artifact.file.size,
        "run": str(artifact.run_id) if artifact.run_id else None,
        "created_at": rfc3339(artifact.created_at),
    }


def _runs_on_branch(conversation: Conversation) -> set[uuid.UUID]:
    """Return the runs that wrote the branch's replies, and the newest of each question without one."""
    branch = Message.objects.only("pk", "role", "run_id", "parent_id").branch(
        conversation.head_id, limit=BRANCH_MAX
    )
    runs = {message.run_id for message in branch if message.run_id}
    following = [*pairwise(branch), *((each, None) for each in branch[-1:])]
    without = [
        message.pk
        for message, after in following
        if message.role == Message.Role.USER and (after is None or after.role == Message.Role.USER)
    ]
    newest = Run.objects.filter(prompt__in=without, reply=None).order_by("created_at")
    runs.update({prompt: pk for pk, prompt in newest.values_list("pk", "prompt")}.values())
    return runs
