"""A prepared text as its top-level blocks, each exactly one root element."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyromark

from chat.rendering.wall import clean
from chat.rendering.writer import Writer, named

_Options = pyromark.Options
OPTIONS = (
    _Options.ENABLE_TABLES
    | _Options.ENABLE_STRIKETHROUGH
    | _Options.ENABLE_TASKLISTS
    | _Options.ENABLE_MATH
    | _Options.ENABLE_GFM
    | _Options.ENABLE_FOOTNOTES
)

Definitions = Mapping[str, tuple[str, str]]  # a link's label to its address and title


@dataclass(frozen=True, slots=True)
class Block:
    """A top-level block: its lines in the source, from ``start`` to before ``end``, and its HTML."""

    kind: str
    start: int
    end: int
    fenced: bool
    html: str = ""


@dataclass(frozen=True, slots=True)
class _Span:
    """A top-level block in bytes of the source."""

    kind: str
    fenced: bool
    start: int
    end: int


def to_blocks(
    source: str, definitions: Definitions | None = None, *, unfinished: bool = False
) -> list[Block]:
    """The blocks of a prepared text. ``definitions`` are links' that came before it."""
    raw = source.encode()
    writer = Writer(unfinished=unfinished)
    lines = _LineCounter(raw)
    found = []
    for event, start, end, span in _walk(source, definitions):
        kind, value = named(event)
        if kind == "Start":
            writer.start(*named(value))
        elif kind == "End":
            writer.end(*named(value))
        else:
            before = raw[start - 1 : start].decode("ascii", "replace")
            after = raw[end : end + 1].decode("ascii", "replace")
            writer.leaf(kind, value, before=before, after=after)
        if span:
            found.append(lines.block(span, clean(writer.block())))
    return found


def outline(source: str) -> list[Block]:
    """As ``blocks``, without the HTML: where each block begins and ends."""
    lines = _LineCounter(source.encode())
    return [lines.block(span, "") for _event, _start, _end, span in _walk(source, None) if span]


def definitions_in(source: str) -> dict[str, tuple[str, str]]:
    """The links that a prepared text defines. The first definition of a label counts."""
    found: dict[str, tuple[str, str]] = {}
    for label, definition in pyromark.reference_definitions(source, options=OPTIONS).items():
        found.setdefault(_folded(label), (definition["dest"], definition["title"] or ""))
    return found


def _folded(label: str) -> str:
    return " ".join(label.split()).casefold()


def _walk(source: str, definitions: Definitions | None) -> Iterator[tuple[Any, int, int, _Span | None]]:
    """Each event with its bytes, and with the top-level block that it completes."""

    def look_up(link: Any) -> tuple[str, str] | None:
        return definitions.get(_folded(link["reference"])) if definitions else None

    depth = item_end = begin = 0
    kind, fenced = "", False
    events = pyromark.events_with_range(
        source, options=OPTIONS, merge_text=True, broken_link_callback=look_up if definitions else None
    )
    for event, byte_range in events:
        start, end = byte_range["start"], byte_range["end"]
        name, value = named(event)
        if depth == 0:
            kind, arg = named(value) if name == "Start" else (name, None)
            begin, fenced = start, isinstance(arg, dict) and "Fenced" in arg
        depth += (name == "Start") - (name == "End")
        if name == "End" and depth == 1:
            item_end = end
        if depth:
            yield event, start, end, None
        else:  # a list's own range runs on to the next block: it ends with its last item
            yield event, start, end, _Span(kind, fenced, begin, item_end if kind == "List" else end)


class _LineCounter:
    """Bytes to lines, for spans that come in order: each byte is looked at once."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._line = 0
        self._at = 0

    def block(self, span: _Span, html: str) -> Block:
        raw = self._raw
        last_line = raw.rfind(b"\n", 0, span.end) + 1  # where the line in which the block ends begins
        first = self._line + raw.count(b"\n", self._at, span.start)
        self._line = first + raw.count(b"\n", span.start, last_line)
        self._at = max(last_line, span.start)
        ends_inside = bool(raw[last_line : span.end].strip())
        return Block(span.kind, first, self._line + ends_inside, span.fenced, html)
