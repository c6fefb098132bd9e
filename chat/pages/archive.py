"""The archive of *My data*: a ZIP that is written while it is sent, in JSON and in readable HTML.

A step reads one page of rows. Memory holds that page, and the ZIP's directory of files.
"""

import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import tzinfo
from io import RawIOBase
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from django.core.serializers.json import DjangoJSONEncoder
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe

from accounts.models import User
from chat import personal_data, waiting
from chat.database import run_db
from chat.models import Conversation, Message
from chat.pages.transcript import display_name
from chat.personal_data import ids_in_pages, values_in_pages
from chat.rendering.renderer import plain

ROWS_AT_ONCE = 50  # that are in memory at the same time
PLACE = mark_safe("<!-- content -->")  # in the rendered frame of a page; escaped text has no such tag

File = tuple[str, Iterator[str]]


class _Buffer(RawIOBase):
    """File that a ZipFile can only append to, and that is emptied after each step."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def drain(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


async def archive_chunks(user: User, zone: tzinfo) -> AsyncIterator[bytes]:
    """Yield the bytes of the ZIP. Times in its HTML are in ``zone``."""
    parts = _zip_parts(user, zone)
    # Each part reads one page, on a thread that may use the database.
    while (part := await run_db(next, parts, None)) is not None:
        if part:
            yield part


def _zip_parts(user: User, zone: tzinfo) -> Iterator[bytes]:
    buffer = _Buffer()
    now = timezone.localtime(timezone=zone)
    with ZipFile(buffer, "w") as archived:
        for name, parts in _files(user, _in_zone(zone)):
            info = ZipInfo(name, now.timetuple()[:6])
            info.compress_type = ZIP_DEFLATED
            with archived.open(info, "w", force_zip64=True) as file:  # its size is not known yet
                for part in parts:
                    file.write(part.encode())
                    yield buffer.drain()
    yield buffer.drain()


Render = Callable[[str, dict[str, Any]], str]


def _in_zone(zone: tzinfo) -> Render:
    def render(template: str, context: dict[str, Any]) -> str:
        with timezone.override(zone):
            return render_to_string(f"chat/archive/{template}.html", context)

    return render


def _files(user: User, render: Render) -> Iterator[File]:
    yield "index.html", _index(user, render)
    for data in personal_data.declarations:
        if data.export:
            yield f"data/{data.export.file}.json", _json(user, data)
    for ids in ids_in_pages(_conversations_of(user), ROWS_AT_ONCE):
        for pk in ids:
            # Deleted meanwhile, perhaps.
            if found := Conversation.objects.filter(pk=pk).first():
                yield f"conversations/{pk}.html", _conversation(found, render)


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
    shown = found.messages.filter(hidden_at=None).order_by("created_at", "id")
    ids = list(shown.values_list("pk", flat=True))
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
                "version": siblings[message.parent_id].index(message.pk) + 1,
                "versions": len(siblings[message.parent_id]),
            }
            for message in messages
        ]
    }


def _html_of(message: Message, owner_id: int) -> SafeString:
    if message.html:
        return mark_safe(message.html)  # noqa: S308  (sanitized when it was stored)
    text, _parts = waiting.without_deciders(
        message.text, message.parts, lambda request: request.decided_by_id != owner_id
    )
    return mark_safe(plain(text))  # noqa: S308  (escaped)
