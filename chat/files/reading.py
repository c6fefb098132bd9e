"""Files that a member may read: own ones, neither hidden by a moderator nor of a deleted conversation."""

import uuid

from django.db.models import Q, QuerySet

from accounts.models import User
from chat import refusals
from chat.files.models import File

# Of what a run has made, or saved: artifacts and files have the same field.
HIDDEN_RUN = (
    Q(run__prompt__hidden_at__isnull=False)
    | Q(run__reply__hidden_at__isnull=False)
    | Q(run__hidden_marks__isnull=False)
)
NOT_HIDDEN = Q(message__hidden_at=None) & ~HIDDEN_RUN


def readable(owner: User) -> QuerySet[File]:
    """Return the member's own complete files that the member may read."""
    return File.objects.filter(NOT_HIDDEN, owner=owner, blob__isnull=False, conversation__deleted_at=None)


def access_file(owner: User, file_id: uuid.UUID | None) -> File:
    """Return such a file. Raises the 404 refusal."""
    found = readable(owner).select_related("blob").filter(pk=file_id).first() if file_id else None
    if found is None:
        raise refusals.not_found()
    return found
