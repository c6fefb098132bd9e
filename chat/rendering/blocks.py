"""Top-level blocks of a preprocessed text, each exactly one root element."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyromark

from chat.rendering.layout import OPTIONS, ParserEvent, folded
from chat.rendering.preprocess import Prepared
from chat.rendering.sanitizer import sanitize
from chat.rendering.writer import BlockWriter


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


def to_blocks(prepared: Prepared, *, count: int | None = None, unfinished: bool = False) -> list[Block]:
    """Return the blocks of a prepared text, or its first ``count``; ``unfinished`` where it goes on."""
    writer = BlockWriter(prepared.formulas, final=prepared.final, unfinished=unfinished)
    lines = _LineCounter(prepared.text.encode())
    found: list[Block] = []
    for name, tag, arg, span in _walk(prepared.events):
        if name == "Start":
            writer.start(tag, arg)
        elif name == "End":
            writer.end(tag, arg)
        else:
            writer.leaf(name, arg)
        if span:
            found.append(lines.block(span, sanitize(writer.block())))
            if len(found) == count:
                break
    return found


def outline(prepared: Prepared) -> list[Block]:
    """Return the blocks of a prepared text without their HTML."""
    lines = _LineCounter(prepared.text.encode())
    return [lines.block(span, "") for *_event, span in _walk(prepared.events) if span]


def definitions_in(source: str) -> dict[str, tuple[str, str]]:
    """Return the link definitions of a prepared text. The first one of a label counts."""
    found: dict[str, tuple[str, str]] = {}
    for label, definition in pyromark.reference_definitions(source, options=OPTIONS).items():
        found.setdefault(folded(label), (definition["dest"], definition["title"] or ""))
    return found


def _walk(events: list[ParserEvent]) -> Iterator[tuple[str, str, Any, _Span | None]]:
    """Yield each event, and the top-level block that it completes."""
    depth = item_end = begin = 0
    kind, fenced = "", False
    for name, tag, arg, start, end in events:
        if depth == 0:
            kind, begin, fenced = tag or name, start, isinstance(arg, dict) and "Fenced" in arg
        depth += (name == "Start") - (name == "End")
        if name == "End" and depth == 1:
            item_end = end
        if depth:
            yield name, tag, arg, None
        else:
            # The parser's range of a list reaches to the next block: end it with its last item.
            yield name, tag, arg, _Span(kind, fenced, begin, item_end if kind == "List" else end)


class _LineCounter:
    """Converter of byte ranges, which come in order, to lines. It reads each byte once."""

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
