"""Export of a conversation as a download: Markdown for people, JSON for programs."""

import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, tzinfo
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _

from chat import endings, events, queue
from chat.api import serializers
from chat.database import run_db
from chat.models import Conversation, Message, Run

MESSAGES_AT_ONCE = 50  # messages that are in memory at the same time
NAME_LENGTH = 80  # characters of a file's name


def download(found: Conversation, kind: str, *, every_branch: bool) -> StreamingHttpResponse:
    """Return the messages of the active branch, or of every branch in the order of their creation."""
    parts = _json_parts if kind == "json" else _markdown_parts
    stored = found.messages.order_by("created_at", "id") if every_branch else None
    ids = (
        list(stored.values_list("pk", flat=True))
        if stored is not None
        else [message.pk for message in Message.objects.only("pk").branch(found.head_id, limit=10**9)]
    )
    chunks = _chunks(parts(found, ids, timezone.get_current_timezone()))
    mime = "application/json" if kind == "json" else "text/markdown; charset=utf-8"
    response = StreamingHttpResponse(chunks, content_type=mime)
    name = f"{_file_name(found.title)}.{'json' if kind == 'json' else 'md'}"
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=name)
    return response


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
        yield [found[pk] for pk in some if pk in found and not found[pk].hidden_at]


def _json_parts(found: Conversation, ids: list[uuid.UUID], zone: tzinfo) -> Iterator[str]:
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


def _markdown_parts(found: Conversation, ids: list[uuid.UUID], zone: tzinfo) -> Iterator[str]:
    yield f"# {found.title}\n"
    for messages in _batches(ids):
        siblings = Message.objects.siblings_of(messages)
        yield "".join(_markdown_of(each, siblings[each.parent_id], zone) for each in messages)
    for ask in found.queue.order_by("position"):
        facts = [_("You"), _time(ask.created_at, zone), _("not asked yet")]
        yield f"\n## {' · '.join(facts)}\n\n{ask.text}\n"


def _markdown_of(message: Message, siblings: list[uuid.UUID], zone: tzinfo) -> str:
    is_question = message.role == Message.Role.USER
    facts = [_("You") if is_question else message.agent, _time(message.created_at, zone)]
    if message.run and message.run.model:
        facts.append(message.run.model)
    if len(siblings) > 1:
        place = {"number": siblings.index(message.pk) + 1, "total": len(siblings)}
        facts.append(_("version %(number)s of %(total)s") % place)
    lines = [f"\n## {' · '.join(facts)}\n"]
    lines += [message.text] if is_question else _items(message.parts.get("items", []))
    if message.run and (ending := endings.explain(message.run.status, message.run.code)["detail"]):
        lines.append(f"*{ending}*")
    return "\n".join(lines) + "\n"


def _items(items: list[dict[str, Any]]) -> Iterator[str]:
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
    title = re.sub(r"([\\`*_\[\]<>&#])", r"\\\1", source["title"])
    return f"{source['n']}. {title}" + (f" <{source['uri']}>" if source["uri"] else "")


def _quote(text: str) -> str:
    return "".join(f"> {line}\n" for line in text.splitlines())


def _time(value: datetime, zone: tzinfo) -> str:
    return f"{value.astimezone(zone):%Y-%m-%d %H:%M %Z}"
