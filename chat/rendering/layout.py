"""Positions of a text's code, links and running text, as the parser reads the original text."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyromark

_Options = pyromark.Options
# Not ENABLE_MATH: to the parser two prices are a formula. chat/rendering/formula_finder.py finds formulas.
OPTIONS = (
    _Options.ENABLE_TABLES
    | _Options.ENABLE_STRIKETHROUGH
    | _Options.ENABLE_TASKLISTS
    | _Options.ENABLE_GFM
    | _Options.ENABLE_FOOTNOTES
)
INLINE = {"Text", "Code", "SoftBreak", "HardBreak", "InlineHtml", "FootnoteReference"}
INLINE_TAGS = {"Emphasis", "Strong", "Strikethrough", "Link", "Image"}
LABELLED = {"Shortcut", "Collapsed", "ShortcutUnknown", "CollapsedUnknown", "Autolink", "Email"}

# Name; tag, if the name is Start or End; argument; range in bytes.
ParserEvent = tuple[str, str, Any, int, int]
Definitions = Mapping[str, tuple[str, str]]  # label of a link to its address and title


def folded(label: str) -> str:
    """Return a link's label, normalized for comparison."""
    return " ".join(label.split()).casefold()


def events(source: str, definitions: Definitions | None = None) -> list[ParserEvent]:
    """Return the parser's events. ``definitions`` are link definitions from outside ``source``."""

    def look_up(link: Any) -> tuple[str, str] | None:
        return definitions.get(folded(link["reference"])) if definitions else None

    found = pyromark.events_with_range(
        source, options=OPTIONS, merge_text=True, broken_link_callback=look_up if definitions else None
    )
    return [_event(event, byte_range["start"], byte_range["end"]) for event, byte_range in found]


def _event(event: Any, start: int, end: int) -> ParserEvent:
    if isinstance(event, str):
        return event, "", None, start, end
    ((name, value),) = event.items()
    if name not in ("Start", "End"):
        return name, "", value, start, end
    if isinstance(value, str):
        return name, value, None, start, end
    ((tag, arg),) = value.items()
    return name, tag, arg, start, end


class Spans:
    """Sorted ranges that do not overlap."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        self.starts.append(start)
        self.ends.append(end)

    def cover(self, at: int) -> bool:
        """Return whether one of the ranges holds the character at ``at``."""
        return self.meet(at, at + 1)

    def meet(self, start: int, end: int) -> bool:
        """Return whether one of the ranges has a character in common with this one."""
        n = bisect_right(self.ends, start)
        return n < len(self.starts) and self.starts[n] < end


@dataclass(frozen=True, slots=True)
class Leaf:
    """A run of inline content. Only ``text`` may go on over several lines; ``row`` is a table's."""

    kind: str  # "text", "heading" or "row"
    start: int
    end: int


@dataclass(slots=True)
class Layout:
    """Ranges of a text by kind. All positions are in characters."""

    leaves: list[Leaf] = field(default_factory=list)
    code: Spans = field(default_factory=Spans)  # blocks and spans
    blocks: Spans = field(default_factory=Spans)  # code blocks only
    fixed: Spans = field(default_factory=Spans)  # targets and labels of links, footnote marks, autolinks
    links: list[tuple[int, int, int]] = field(default_factory=list)  # start, end of its text, end
    open_fence: bool = False

    def leaf_at(self, at: int) -> Leaf | None:
        """Return the run of inline content that holds the character at ``at``."""
        n = bisect_right(self.leaves, at, key=lambda leaf: leaf.start) - 1
        return self.leaves[n] if n >= 0 and at < self.leaves[n].end else None

    def link_is_cut(self, start: int, end: int) -> bool:
        """Return whether a range cuts a link: it holds a part of it, and not only of its text."""
        n = bisect_left(self.links, (start, 0, 0))
        around = self.links[max(0, n - 1) : n + 1]
        last = bisect_left(self.links, (end, 0, 0)) - 1
        if last >= n:
            around.append(self.links[last])
        return any(
            start < link_end and end > link_start
            and not (start <= link_start and end >= link_end)
            and not (link_start < start and end <= text_end)
            for link_start, text_end, link_end in around
        )  # fmt: skip


def layout_of(text: str, found: list[ParserEvent]) -> Layout:
    """Return the layout of a text by its events."""
    return _Reader(text).read(found)


class _Reader:
    """One pass over the events of a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found = Layout()
        self._kind = "text"
        self._leaf: tuple[int, int] | None = None
        self._last_fence: tuple[int, int] | None = None
        self._row_end = 0  # inside a table's row: where it ends
        self._links: list[list[Any]] = []  # open ones: start, end of the last child, target is fixed from

    def read(self, found: list[ParserEvent]) -> Layout:
        at = _characters(self._text, found)
        in_code = False
        for name, tag, arg, start, end in found:
            if tag == "CodeBlock":
                in_code = name == "Start"
                if in_code:
                    self._code_block(arg, at[start], at[end])
            elif not in_code:
                self._take(name, tag, arg, at[start], at[end])
        self._close_leaf()
        if self._last_fence:
            start, end = self._last_fence
            self._found.open_fence = not self._text[end:].strip() and not _is_closed(self._text[start:end])
        self._found.links.sort()
        self._found.leaves.sort(key=lambda leaf: leaf.start)
        fixed = sorted(zip(self._found.fixed.starts, self._found.fixed.ends, strict=True))
        self._found.fixed = Spans(_apart(fixed))
        return self._found

    def _code_block(self, arg: Any, start: int, end: int) -> None:
        self._close_leaf()
        found = self._found
        found.code.add(start, end)
        found.blocks.add(start, end)
        self._last_fence = (start, end) if isinstance(arg, dict) else None

    def _take(self, name: str, tag: str, arg: Any, start: int, end: int) -> None:
        if name in INLINE or tag in INLINE_TAGS:
            if not self._row_end:
                first, last = self._leaf or (start, end)
                self._leaf = (first, max(last, end))
            if name == "Code":
                self._found.code.add(start, end)
            elif name == "FootnoteReference":
                self._found.fixed.add(start, end)
            if self._links or tag in ("Link", "Image"):
                self._follow_links(name, tag, arg, start, end)
        elif tag in ("TableHead", "TableRow"):
            self._close_leaf()
            self._row_end = end if name == "Start" else 0
            if name == "Start":
                self._found.leaves.append(Leaf("row", start, end))
        elif name != "TaskListMarker" and not self._row_end:
            self._close_leaf()
            is_atx = tag == "Heading" and self._text.startswith("#", start)
            self._kind = "heading" if is_atx and name == "Start" else "text"

    def _follow_links(self, name: str, tag: str, arg: Any, start: int, end: int) -> None:
        if tag not in ("Link", "Image"):
            self._links[-1][1] = end
        elif name == "Start":
            labelled = arg["link_type"] in LABELLED
            self._links.append([start, start + 1 + (tag == "Image"), labelled])
        else:
            link_start, text_end, labelled = self._links.pop()
            self._found.links.append((link_start, text_end, end))
            self._found.fixed.add(link_start if labelled else text_end, end)
            if self._links:
                self._links[-1][1] = end

    def _close_leaf(self) -> None:
        if self._leaf:
            start, end = self._leaf
            start -= start > 0 and self._text[start - 1] == "\\"  # an escaped character comes without
            self._found.leaves.append(Leaf(self._kind, start, end))
        self._leaf = None


def _apart(ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield sorted ranges without those that lie inside another."""
    last = 0
    for start, end in ranges:
        if end > last:
            yield max(start, last), end
            last = end


def _characters(text: str, found: list[ParserEvent]) -> Any:
    """Return the positions in characters of the events' bytes, by a mapping or the like."""
    if text.isascii():
        return range(len(text) + 1)
    raw, last, count = text.encode(), 0, 0
    at = {}
    for offset in sorted({offset for event in found for offset in event[3:]}):
        count += len(raw[last:offset].decode())
        at[offset] = count
        last = offset
    return at


def _is_closed(block: str) -> bool:
    """Return whether a fenced block of code has its closing fence."""
    first, _, rest = block.partition("\n")
    last = rest.rstrip("\n").rpartition("\n")[2].strip(" \t>")
    fence = first[: len(first) - len(first.lstrip(first[:1]))]
    return bool(rest) and last.startswith(fence) and not last.strip(fence[0])
