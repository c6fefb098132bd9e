"""Files of a question: those that a member has uploaded are attached when it is asked."""

import uuid
from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from accounts.models import User
from chat import refusals
from chat.files import blobs
from chat.files.models import File
from chat.models import Conversation, Message

FILES_MAX = 10  # of one question


def check_files(owner: User, ids: Sequence[uuid.UUID]) -> list[File]:
    """Return the member's own complete uploads with these ids, in this order, and lock them.

    Raises the 422 refusals. Call it in a transaction.
    """
    if len(ids) > FILES_MAX:
        raise refusals.unprocessable(
            "too_many_files", _("A message has at most %(limit)s files.") % {"limit": FILES_MAX}
        )
    found = files_left(owner, ids)
    if len(found) < len(set(ids)):
        raise refusals.unprocessable("no_file", _("A file of this message does not exist any more."))
    return found


def files_left(owner: User, ids: Sequence[uuid.UUID]) -> list[File]:
    """Return those of the files that the member still may attach, in this order, and lock them."""
    if not ids:
        return []
    # With the order of the keys: two questions with the same files would deadlock otherwise.
    own = File.objects.select_for_update(of=("self",)).order_by("pk")
    own = own.filter(pk__in=ids, owner=owner, blob__isnull=False, run=None)
    found = {file.pk: file for file in own.select_related("message__conversation")}
    left = [found[pk] for pk in dict.fromkeys(ids) if pk in found]
    return [file for file in left if not _is_hidden_or_gone(file)]


def keep_for_queue(conversation: Conversation, files: Sequence[File]) -> list[uuid.UUID]:
    """Keep the files for a question that waits, so that the sweep does not delete them. Return their ids."""
    claimed = claim_files(conversation, files)
    File.objects.filter(pk__in=[file.pk for file in claimed]).update(conversation=conversation)
    return [file.pk for file in claimed]


def release_files(conversation: Conversation, ids: Sequence[str]) -> None:
    """Let files that were kept for a withdrawn question be unused again."""
    if not ids:
        return
    kept = File.objects.filter(pk__in=ids, conversation=conversation, message=None, run=None)
    kept.update(conversation=None)


def claim_files(conversation: Conversation, files: Sequence[File]) -> list[File]:
    """Return the files for a new question: each unused one itself, for another a copy of its row.

    A file belongs to one question, so that deleting or hiding that one leaves no other without its file.
    Call ``attach_files`` when the question is stored, in the same transaction.
    """
    claimed = []
    for file in files:
        if file.message_id is None and file.conversation_id in (None, conversation.pk):
            claimed.append(file)
            continue
        copy = File(owner_id=file.owner_id, name=file.name, conversation=conversation)
        blobs.share(file, copy)
        claimed.append(copy)
    return claimed


def attach_files(conversation: Conversation, message: Message, files: Sequence[File]) -> None:
    """Let these claimed files belong to the stored question."""
    File.objects.filter(pk__in=[file.pk for file in files]).update(conversation=conversation, message=message)


def items_of(files: Sequence[File]) -> list[dict[str, Any]]:
    """Return the items of a question's parts for these files."""
    return [{"type": "file", "agent": "", **file.as_item()} for file in files]


def _is_hidden_or_gone(file: File) -> bool:
    """Return whether the member may not read the file any more, so must not send it again."""
    if file.message is None:
        return False
    return bool(file.message.hidden_at or file.message.conversation.deleted_at)
