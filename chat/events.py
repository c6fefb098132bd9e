"""Events of a run, as they are stored in its log and sent to its readers.

Pure values. A type that this version does not know passes through unchanged, so that the log of a newer
process stays readable.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

STARTED = "run.started"
TEXT = "text"
THOUGHT = "thought"
TOOL_CALLED = "tool.called"
TOOL_RETURNED = "tool.returned"
FILE = "file"
HEARD = "heard"
SOURCES = "sources"
AGENT = "agent"
WAITING = "waiting"
AGENT_FAILED = "agent.failed"
NODE_DONE = "step"
REPLACE = "replace"
COMPLETED = "run.completed"
STOPPED = "run.stopped"
FAILED = "run.failed"
EXPIRED = "run.expired"

TERMINAL = frozenset({COMPLETED, STOPPED, FAILED, EXPIRED})

# ADK's own tools ask a user, or transfer the conversation: calling one again repeats no action.
ADK_TOOLS = frozenset(
    {"adk_request_confirmation", "adk_request_credential", "adk_request_input", "transfer_to_agent"}
)

CODE_TOOL = "code"  # the tool name of code that the model ran
SHOWN_BYTES = 32 * 1024  # of a call's arguments, or of its result, as JSON; the log has no more of it
REQUESTS = frozenset({"adk_request_confirmation", "adk_request_input"})  # ADK's calls that ask a person

SEPARATOR = "\n\n"  # between the texts of two model calls; a text event of its own


@dataclass(frozen=True, slots=True)
class Event:
    """Event of a run, not yet numbered."""

    type: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """Numbered event. ``data`` is its JSON text, encoded once for the log and every reader."""

    seq: int
    type: str
    data: str
    decoded: dict[str, Any] | None = field(
        default=None, compare=False, repr=False
    )  # None: as read from the log

    @classmethod
    def of(cls, seq: int, event: Event) -> "Row":
        return cls(seq, event.type, encode_json(event.data), event.data)

    def event(self) -> Event:
        return Event(self.type, json.loads(self.data) if self.decoded is None else self.decoded)


@dataclass(slots=True)
class Usage:
    """Tokens and model calls of a run, as reported by the model."""

    input: int = 0
    output: int = 0
    thought: int = 0
    cached: int = 0
    total: int = 0
    calls: int = 0


def started(*, run: str, conversation: str, prompt: str, agent: str, title: str) -> Event:
    return Event(
        STARTED,
        {"v": 1, "run": run, "conversation": conversation, "prompt": prompt, "agent": agent, "title": title},
    )


def text(value: str) -> Event:
    return Event(TEXT, {"text": value})


def thought(value: str) -> Event:
    return Event(THOUGHT, {"text": value})


def heard(value: str, *, final: bool) -> Event:
    """Return the event of a member's spoken words: the whole transcript so far."""
    return Event(HEARD, {"text": clean_text(value), "final": final})


def tool_called(call_id: str, name: str, args: dict[str, Any]) -> Event:
    """Return the event of a call; ``args_size`` says that its arguments are cut."""
    args, size = shortened(args)
    cut = {} if size is None else {"args_size": size}
    return Event(TOOL_CALLED, {"id": clean_text(call_id), "name": clean_text(name), "args": args, **cut})


def tool_returned(
    call_id: str, name: str, *, result: Any = None, error: str | None = None, elapsed_ms: int
) -> Event:
    """Return the event of a result; ``size`` says that it is cut."""
    value, size = shortened(result if error is None else error)
    called = {"id": clean_text(call_id), "name": clean_text(name)}
    cut = {} if size is None else {"size": size}
    kind = "result" if error is None else "error"
    return Event(TOOL_RETURNED, {**called, kind: value, "elapsed_ms": elapsed_ms, **cut})


def file(
    agent_name: str, item: dict[str, Any], *, artifact: str | None = None, version: int | None = None
) -> Event:
    """Return the event of a file that the agent made; ``item`` is as ``File.as_item`` returns it.

    An artifact without bytes of its own, and one that another artifact service keeps, has None as ``file``.
    """
    saved = {} if artifact is None else {"artifact": clean_text(artifact), "version": version}
    about = {**item, "name": clean_text(item["name"])}
    return Event(FILE, {"agent": clean_text(agent_name), **about, **saved})


def sources(items: list[dict[str, Any]], spans: list[dict[str, Any]], queries: list[str]) -> Event:
    """Return the event of a reply's sources: ``spans`` are code points of its text and numbers of items."""
    return Event(SOURCES, {"items": items, "spans": spans, "queries": queries})


def agent(name: str) -> Event:
    return Event(AGENT, {"name": clean_text(name)})


def step(name: str, path: str, output: Any = None) -> Event:
    """Return the event of a node of a workflow that is done; ``size`` says that its output is cut."""
    found: dict[str, Any] = {"name": clean_text(name), "path": clean_text(path)}
    if output is not None:
        value, size = shortened(output)
        found |= {"output": value} | ({} if size is None else {"size": size})
    return Event(NODE_DONE, found)


def agent_failed(name: str, code: str, detail: str) -> Event:
    """Return the event of one agent of several that failed; ``detail`` is the sentence of its code."""
    return Event(AGENT_FAILED, {"name": clean_text(name), "code": code, "detail": detail})


def replace(
    value: str, *, attempt: int | None = None, keep: int | None = None, kept: str | None = None
) -> Event:
    """Return the event that replaces the reply so far by ``value``.

    The first ``keep`` code points stay as they were shown, and so do the thoughts, tools and agents before
    the next one. Without ``keep`` everything is replaced; ``kept`` is the id of the reply that has it.
    """
    optional = {"attempt": attempt, "keep": keep, "kept": kept}
    return Event(REPLACE, {"text": value} | {k: v for k, v in optional.items() if v is not None})


def encode_json(data: dict[str, Any]) -> str:
    """Return JSON as it is stored and sent: one line, not escaped to ASCII."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False)


def rfc3339(value: datetime | None) -> str | None:
    """Return a time in UTC, as RFC 3339."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value else None


def clean_text(value: str) -> str:
    """Return ``value`` with U+FFFD for NUL and lone surrogates, which databases and UTF-8 refuse."""
    if "\x00" in value:
        value = value.replace("\x00", "\ufffd")
    try:
        value.encode()
    except UnicodeEncodeError:
        value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def clean_json(value: Any) -> Any:
    """Return ``value`` as plain JSON: a value without a JSON form becomes its ``repr``."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, dict):
        return {clean_text(str(key)): clean_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean_json(item) for item in value]
    if isinstance(value, BaseModel):  # results of ADK's own tools are models, not dicts
        try:
            return clean_json(value.model_dump(mode="json", by_alias=True, exclude_none=True, fallback=repr))
        except ValueError:  # bytes that are no text, or a model that contains itself
            pass
    return clean_text(repr(value))


def shortened(value: Any) -> tuple[Any, int | None]:
    """Return ``value`` as plain JSON of at most SHOWN_BYTES, and the bytes of the whole if it is cut.

    Texts are cut between characters; items of lists and objects after the limit are left out.
    """
    try:
        size = _size(value)
    except (TypeError, ValueError, RecursionError):  # no JSON, for example a model's object
        value = clean_json(value)
        size = _size(value)
    # Cut first: to clean 20 MB of numbers would block the event loop for seconds.
    return (
        (clean_json(value), None) if size <= SHOWN_BYTES else (clean_json(_cut(value, SHOWN_BYTES)[0]), size)
    )


def kilobytes(size: int | None) -> int | None:
    """Return a size in bytes as a user reads it."""
    return None if size is None else (size + 500) // 1000


def _cut(value: Any, room: int) -> tuple[Any, int]:
    """Return the beginning of a JSON value that fits into ``room`` bytes, and the room that is left."""
    if isinstance(value, str):
        size = _size(value[: room + 1])
        if size <= room:
            return value, room - size
        # An escape takes up to six bytes for one character.
        count = bisect_right(range(room + 1), room, key=lambda n: _size(value[:n])) - 1
        return value[: max(0, count)], 0
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, item in value.items():
            room -= _size(str(key)) + 6
            if room <= 0:
                break
            found[str(key)], room = _cut(item, room)
        return found, room
    if isinstance(value, list | tuple):
        items: list[Any] = []
        for item in value:
            room -= 4
            if room <= 0:
                break
            cut, room = _cut(item, room)
            items.append(cut)
        return items, room
    return value, room - _size(value)


def _size(value: Any) -> int:
    """Return the bytes of the value as JSON, as in ``encode_json``."""
    return len(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def tools_called(items: Iterable[dict[str, Any]]) -> list[str]:
    """Return the names of the tools that a reply called, each once, in order, without ADK's own.

    ``items`` are those of ``Message.parts`` or ``Fold.items``.
    """
    names = dict.fromkeys(item["name"] for item in items if item["type"] == "tool")
    return [name for name in names if name not in ADK_TOOLS]


def sources_of(items: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the item with a reply's sources, if it has some."""
    return next((item for item in items if item["type"] == "sources"), None)


def has_stored_file(item: dict[str, Any]) -> bool:
    """Return whether an item of a message is a file with its bytes.

    Older ones have only a name, and so have artifacts of another service.
    """
    return item["type"] == "file" and bool(item.get("file"))


class Fold:
    """Text and items of a reply, accumulated from its run's events.

    The text is that of the last ``replace`` and of the events after it, separators included. ``question`` is
    what the member of a live run has said, as far as its log has it.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.agent = ""
        self.question = ""
        # Texts and thoughts stay lists of pieces until they are read: appending to a string would copy
        # a long reply once per delta.
        self._items: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        for event in events:
            self.add(event)

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def has_items(self) -> bool:
        return bool(self._items)

    @property
    def has_visible_text(self) -> bool:
        """Return whether the reply's text has anything but white space."""
        return any(not piece.isspace() for piece in self._pieces if piece)

    @property
    def has_files(self) -> bool:
        return any(item["type"] == "file" for item in self._items)

    @property
    def called(self) -> list[str]:
        """Return the names of the tools that were called, each once, in order, without ADK's own."""
        return tools_called(self._items)

    @property
    def items(self) -> list[dict[str, Any]]:
        return [
            {**item, "text": "".join(item["text"])} if isinstance(item.get("text"), list) else dict(item)
            for item in self._items
        ]

    @property
    def sources(self) -> dict[str, Any] | None:
        """Return the item with the reply's sources, if it has some."""
        return sources_of(self._items)

    def parts(self) -> dict[str, Any]:
        """Return the value of ``Message.parts``."""
        return {"v": 1, "items": self.items}

    def add(self, event: Event) -> None:
        data = event.data
        match event.type:
            case "run.started" | "agent":
                self.agent = data.get("agent") or data.get("name") or self.agent
            case "text":
                self._pieces.append(data["text"])
                self._extend("text", data["text"])
            case "thought":
                self._extend("thought", data["text"])
            case "tool.called" | "sources" | "file" | "step":
                kind = "tool" if event.type == TOOL_CALLED else event.type
                self._items.append({"type": kind, "agent": self.agent, **data})
            case "tool.returned":
                self._return(data)
            case "heard":
                self.question = data["text"]
            case "agent.failed":
                self._items.append({"type": "failed", "agent": data["name"], **data})
            case "replace":
                kept = data["text"][: data.get("keep", 0)]
                self._items = self._items_before(len(kept)) if "keep" in data else []
                self._pieces = [kept] if kept else []
                if len(data["text"]) > len(kept):
                    self.add(text(data["text"][len(kept) :]))

    def _items_before(self, end: int) -> list[dict[str, Any]]:
        """Return the items of the reply's first ``end`` code points; a text item is cut there."""
        found: list[dict[str, Any]] = []
        at = 0
        for item in self._items:
            if item["type"] != "text":
                found += [item] if at <= end else []
                continue
            value = "".join(item["text"])
            if at < end:
                found.append({**item, "text": [value[: end - at]]})
            at += len(value)
        return found

    def _extend(self, kind: str, value: str) -> None:
        last = self._items[-1] if self._items else None
        if last and last["type"] == kind and last["agent"] == self.agent:
            last["text"].append(value)
        else:
            self._items.append({"type": kind, "agent": self.agent, "text": [value]})

    def _return(self, data: dict[str, Any]) -> None:
        for item in reversed(self._items):
            if item["type"] == "tool" and item["id"] == data["id"]:
                item.update(
                    {key: data[key] for key in ("result", "error", "elapsed_ms", "size") if key in data}
                )
                return
