"""Page of a conversation's files, which the chat page shows in a panel too."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from chat.access import access_conversation
from chat.events import has_stored_file
from chat.files.artifacts import versions_on_branch
from chat.files.models import File
from chat.http.members import signed_in_user
from chat.models import Conversation, Message
from chat.pages.file_cards import FileCard, card_of_file


@dataclass(frozen=True, slots=True)
class ListedFile:
    """File of a conversation, with the older versions of the same artifact."""

    card: FileCard
    created_at: datetime
    older: list["ListedFile"]


@never_cache
@require_GET
def conversation_files(request: HttpRequest, conversation: str) -> HttpResponse:
    """Show the files of the active branch: those that the agent made, and those that the member sent."""
    found = access_conversation(signed_in_user(request), conversation)
    messages = _messages_with_files(found)
    made = _artifacts(found) + _listed(messages, Message.Role.ASSISTANT)
    context = {
        "conversation": found,
        "made": sorted(made, key=lambda each: each.created_at, reverse=True),
        "sent": _listed(messages, Message.Role.USER),
    }
    return render(request, "chat/files.html", context)


def _artifacts(conversation: Conversation) -> list[ListedFile]:
    """Return the newest version of each artifact, with its older ones."""
    newest: dict[str, ListedFile] = {}
    for version in versions_on_branch(conversation):
        file = version.file
        assert file
        card = FileCard(
            str(file.pk), file.name, file.mime, file.size, file.width, file.height, version.version
        )
        each = ListedFile(card, version.created_at, [])
        if version.name in newest:
            newest[version.name].older.append(each)
        else:
            newest[version.name] = each
    return list(newest.values())


def _messages_with_files(conversation: Conversation) -> list[Message]:
    """Return the messages of the active branch that have files, newest first, without hidden ones."""
    if conversation.head_id is None:
        return []
    files = File.objects.filter(conversation=conversation)
    wanted = files.values_list(Coalesce("message", "run__reply"), flat=True).distinct()
    pks = Message.objects.ids_in_branch(wanted, conversation.head_id)
    found = Message.objects.filter(hidden_at=None).only("role", "parts", "created_at").in_bulk(pks)
    return sorted(found.values(), key=lambda message: (message.created_at, message.pk), reverse=True)


def _listed(messages: list[Message], role: str) -> list[ListedFile]:
    """Return the files of these messages that are no artifacts."""
    return [
        ListedFile(card_of_file(item), message.created_at, [])
        for message in messages
        if message.role == role
        for item in message.parts.get("items", [])
        if has_stored_file(item) and "artifact" not in item
    ]
