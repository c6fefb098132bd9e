"""The archive of *My data*: a ZIP that is written while it is sent, in JSON and in readable HTML.

A step reads one page of rows, or one piece of a file. Memory holds that, and the ZIP's directory of files.
"""

import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import tzinfo
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from accounts.models import User
from chat import personal_data, waiting
from chat.events import has_stored_file
from chat.files.models import File
from chat.files.reading import NOT_HIDDEN
from chat.http.zips import ZipEntry, file_entry, zip_chunks, zip_name
from chat.models import Conversation, Message
from chat.moderated import hidden_sentence
from chat.pages.transcript import display_name
from chat.personal_data import ids_in_pages, values_in_pages
from chat.rendering.renderer import plain

ROWS_AT_ONCE = 50  # that are in memory at the same time
PLACE = mark_safe("<!-- content -->")  # in the rendered frame of a page; escaped text has no such tag


def archive_chunks(user: User, zone: tzinfo) -> AsyncIterator[bytes]:
    """Yield the bytes of the ZIP. Times in its HTML are in ``zone``."""
    return zip_chunks(_entries(user, _in_zone(zone)), zone)


Render = Callable[[str, dict[str, Any]], str]


def _in_zone(zone: tzinfo) -> Render:
    def render(template: str, context: dict[str, Any]) -> str:
        with timezone.override(zone):
            return render_to_string(f"chat/archive/{template}.html", context)

    return render


def _entries(user: User, render: Render) -> Iterator[ZipEntry]:
    yield ZipEntry("index.html", _index(user, render))
    for data in personal_data.declarations:
        if data.export:
            yield ZipEntry(f"data/{data.export.file}.json", _json(user, data))
    for ids in ids_in_pages(_conversations_of(user), ROWS_AT_ONCE):
        for pk in ids:
            # Deleted meanwhile, perhaps.
            if found := Conversation.objects.filter(pk=pk).first():
                yield ZipEntry(f"conversations/{pk}.html", _conversation(found, render))
    own = File.objects.filter(NOT_HIDDEN, owner=user, blob__isnull=False)
    for ids in ids_in_pages(own, ROWS_AT_ONCE):
        for pk in ids:
            if (file := own.filter(pk=pk).first()) and (entry := file_entry(file)):
                yield entry


def _json(user: User, data: personal_data.PersonalData) -> Iterator[str]:
    assert data.export
    before = "[\n"
    for rows in data.rows(user):
        for page in values_in_pages(rows.filter(data.export.where), data.export.fields, ROWS_AT_ONCE):
            lines = [
                json.dumps(data.export.clean(user, row), cls=DjangoJSONEncoder, ensure_ascii=False)
                for row in page
            ]
            yield before + ",\n".join(lines)
            before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _conversations_of(user: User) -> personal_data.Rows:
    return Conversation.objects.filter(owner=user)


def _framed(frame: str, contents: Iterator[str]) -> Iterator[str]:
    start, _place, end = frame.partition(PLACE)
    yield start
    yield from contents
    yield end


def _index(user: User, render: Render) -> Iterator[str]:
    files = [data.export.file for data in personal_data.declarations if data.export]
    frame = render("index", {"member": user, "now": timezone.now(), "files": files, "content": PLACE})
    pages = ids_in_pages(_conversations_of(user), ROWS_AT_ONCE)
    return _framed(
        frame,
        (
            render("_entries", {"conversations": Conversation.objects.filter(pk__in=ids).order_by("pk")})
            for ids in pages
        ),
    )


def _conversation(found: Conversation, render: Render) -> Iterator[str]:
    context = {"conversation": found, "agent": display_name(found.agent), "content": PLACE}
    ids = list(found.messages.order_by("created_at", "id").values_list("pk", flat=True))
    batches = (ids[at : at + ROWS_AT_ONCE] for at in range(0, len(ids), ROWS_AT_ONCE))
    return _framed(
        render("conversation", context),
        (render("_messages", _messages_context(some, found.owner_id)) for some in batches),
    )


def _messages_context(ids: list[uuid.UUID], owner_id: int) -> dict[str, Any]:
    """Return the messages with these ids in their order; each with its place among its versions."""
    found = Message.objects.in_bulk(ids)
    messages = [found[pk] for pk in ids if pk in found]
    siblings = Message.objects.siblings_of(messages)
    return {
        "entries": [
            {
                "message": message,
                "is_question": message.role == Message.Role.USER,
                "agent": display_name(message.agent),
                "html": _html_of(message, owner_id),
                "files": [
                    {"name": item["name"], "address": f"../{zip_name(item['file'], item['name'])}"}
                    for item in message.parts.get("items", [])
                    if has_stored_file(item)
                ],
                "version": siblings[message.parent_id].index(message.pk) + 1,
                "versions": len(siblings[message.parent_id]),
            }
            for message in messages
        ]
    }


def _html_of(message: Message, owner_id: int) -> SafeString:
    if message.hidden_at:
        return format_html("<p><em>{}</em></p>", hidden_sentence())
    if message.html:
        return mark_safe(message.html)  # noqa: S308  (sanitized when it was stored)
    text, _parts = waiting.without_deciders(
        message.text, message.parts, lambda request: request.decided_by_id != owner_id
    )
    return mark_safe(plain(text))  # noqa: S308  (escaped)
