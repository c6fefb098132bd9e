"""Export of a conversation as a download: Markdown for people, also with its files; JSON for programs."""

import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, tzinfo
from typing import Any
from urllib.parse import quote, unquote

from django.http import StreamingHttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _

from chat import endings, events, queue
from chat.api import serializers
from chat.database import run_db
from chat.files.kinds import PICTURES
from chat.files.names import clean_name
from chat.files.reading import readable
from chat.http.address import browser_address
from chat.http.zips import ZipEntry, file_entry, zip_chunks, zip_name
from chat.models import Conversation, Message, Run
from chat.moderated import hidden_sentence

MESSAGES_AT_ONCE = 50  # messages that are in memory at the same time
NAME_LENGTH = 80  # characters of a file's name

AddressOfFile = Callable[[str, str], str]  # of a file, by its id and name


def download(found: Conversation, kind: str, *, every_branch: bool) -> StreamingHttpResponse:
    """Return the messages of the active branch, or of every branch in the order of their creation.

    ``kind`` is ``markdown``, ``json``, or ``zip``: Markdown with the files beside it.
    """
    stored = found.messages.order_by("created_at", "id") if every_branch else None
    ids = (
        list(stored.values_list("pk", flat=True))
        if stored is not None
        else [message.pk for message in Message.objects.only("pk").branch(found.head_id, limit=10**9)]
    )
    zone = timezone.get_current_timezone()
    if kind == "zip":
        chunks, mime, suffix = zip_chunks(_zip_entries(found, ids, zone), zone), "application/zip", "zip"
    elif kind == "json":
        chunks, mime, suffix = _chunks(_json_parts(found, ids)), "application/json", "json"
    else:
        parts = _markdown_parts(found, ids, zone, _address_here)
        chunks, mime, suffix = _chunks(parts), "text/markdown; charset=utf-8", "md"
    response = StreamingHttpResponse(chunks, content_type=mime)
    name = f"{_file_name(found.title)}.{suffix}"
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=name)
    return response


def _zip_entries(found: Conversation, ids: list[uuid.UUID], zone: tzinfo) -> Iterator[ZipEntry]:
    yield ZipEntry("conversation.md", _markdown_parts(found, ids, zone, zip_name))
    for some in _in_batches(ids):
        messages = Message.objects.filter(pk__in=some, hidden_at=None).values_list("parts", flat=True)
        named = {
            item["file"]
            for parts in messages
            for item in parts.get("items", [])
            if events.has_stored_file(item)
        }
        for file in readable(found.owner).filter(pk__in=named).order_by("pk"):
            if entry := file_entry(file):
                yield entry


def _address_here(file: str, name: str) -> str:
    return browser_address() + unquote(reverse("chat:file", args=[file, clean_name(name)]))


async def _chunks(parts: Iterator[str]) -> AsyncIterator[bytes]:
    # Each part reads one batch, on a thread that may use the database.
    while (part := await run_db(next, parts, None)) is not None:
        yield part.encode()


def _file_name(title: str) -> str:
    """Return a title as a name that every file system takes."""
    return re.sub(r"[^\w -]+", " ", title)[:NAME_LENGTH].strip() or "conversation"


def _in_batches(ids: list[uuid.UUID]) -> Iterator[list[uuid.UUID]]:
    return (ids[at : at + MESSAGES_AT_ONCE] for at in range(0, len(ids), MESSAGES_AT_ONCE))


def _batches(ids: list[uuid.UUID]) -> Iterator[list[Message]]:
    for some in _in_batches(ids):
        found = Message.objects.select_related("run").defer("run__state_after").in_bulk(some)
        yield [found[pk] for pk in some if pk in found]


def _json_parts(found: Conversation, ids: list[uuid.UUID]) -> Iterator[str]:
    head = json.dumps(serializers.conversations([found])[0], ensure_ascii=False)
    yield f'{{"conversation": {head},\n"messages": ['
    before = "\n"
    for messages in _batches(ids):
        lines = [json.dumps(each, ensure_ascii=False) for each in serializers.messages(messages)]
        yield before + ",\n".join(lines)
        before = ",\n"
    yield '],\n"runs": ['
    before = "\n"
    for some in _in_batches(ids):
        runs = Run.objects.filter(prompt__in=some).exclude(ended_at=None).order_by("created_at", "id")
        lines = [
            json.dumps(serializers.run_json(run), ensure_ascii=False)
            for run in runs.select_related("reply").defer("state_after")
        ]
        if lines:
            yield before + ",\n".join(lines)
            before = ",\n"
    queued = json.dumps(queue.queue_json(found), ensure_ascii=False)
    yield f'],\n"queued": {queued}}}\n'


def _markdown_parts(
    found: Conversation, ids: list[uuid.UUID], zone: tzinfo, address: AddressOfFile
) -> Iterator[str]:
    yield f"# {found.title}\n"
    for messages in _batches(ids):
        siblings = Message.objects.siblings_of(messages)
        yield "".join(_markdown_of(each, siblings[each.parent_id], zone, address) for each in messages)
    for ask in found.queue.order_by("position"):
        facts = [_("You"), _time(ask.created_at, zone), _("not asked yet")]
        yield f"\n## {' · '.join(facts)}\n\n{ask.text}\n"


def _markdown_of(message: Message, siblings: list[uuid.UUID], zone: tzinfo, address: AddressOfFile) -> str:
    is_question = message.role == Message.Role.USER
    facts = [_("You") if is_question else message.agent, _time(message.created_at, zone)]
    if message.run and message.run.model:
        facts.append(message.run.model)
    if len(siblings) > 1:
        place = {"number": siblings.index(message.pk) + 1, "total": len(siblings)}
        facts.append(_("version %(number)s of %(total)s") % place)
    lines = [f"\n## {' · '.join(facts)}\n"]
    if message.hidden_at:
        return f"{lines[0]}\n*{hidden_sentence()}*\n"
    items = message.parts.get("items", [])
    if is_question:  # what it approves is part of its text
        lines += [message.text] if message.text else []
        items = [item for item in items if item["type"] == "file"]
    lines += _items(items, address)
    if message.run and (ending := endings.explain(message.run.status, message.run.code)["detail"]):
        lines.append(f"*{ending}*")
    return "\n".join(lines) + "\n"


def _items(items: list[dict[str, Any]], address: AddressOfFile) -> Iterator[str]:
    """Yield the items of a reply in their order: thoughts as quotes, tools and files by name."""
    thought = _("Thought")
    for item in items:
        if item["type"] == "text":
            yield item["text"]
        elif item["type"] == "thought":
            yield _quote(f"*{thought}*\n\n{item['text']}")
        elif item["type"] in ("tool", "step"):
            yield from _step(item)
        elif item["type"] == "failed":
            yield _quote(f"{item['name']}: {item['detail']}")
        elif item["type"] == "sources":
            yield "\n".join(_source(each) for each in item["items"])
        elif events.has_stored_file(item):
            link = quote(address(item["file"], item["name"]), safe="/:[]@")
            yield f"{'!' if item['mime'] in PICTURES.values() else ''}[{_escaped(item['name'])}](<{link}>)\n"
        elif item["type"] == "file":
            yield _quote(_("File %(name)s") % {"name": item["name"]})


def _step(item: dict[str, Any]) -> Iterator[str]:
    """Yield a tool's call, or a node of a workflow with its output."""
    if item["type"] == "step":
        yield _quote(_("Step `%(name)s`") % {"name": item["name"]})
        if "output" in item:
            yield _quote(f"`{json.dumps(item['output'], ensure_ascii=False)}`")
        return
    args = json.dumps(item.get("args", {}), ensure_ascii=False)
    yield _quote(_("Tool `%(name)s`, asked: `%(args)s`") % {"name": item["name"], "args": args})
    if "args_size" in item:
        size = {"size": events.kilobytes(item["args_size"])}
        yield _quote(_("Cut off here. The whole has %(size)s KB.") % size)


def _source(source: dict[str, Any]) -> str:
    return f"{source['n']}. {_escaped(source['title'])}" + (f" <{source['uri']}>" if source["uri"] else "")


def _escaped(text: str) -> str:
    """Return a line of text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>&#])", r"\\\1", text)


def _quote(text: str) -> str:
    return "".join(f"> {line}\n" for line in text.splitlines())


def _time(value: datetime, zone: tzinfo) -> str:
    return f"{value.astimezone(zone):%Y-%m-%d %H:%M %Z}"
