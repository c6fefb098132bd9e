r"""A text on its way to the parser: line ends, and the ways to write mathematics brought to one.

Line by line, so that a block's lines are the text's: ``$$`` and ``\[`` on lines of their own become a fence
of the language "math", ``\(x\)`` becomes ``$x$`` outside code.
"""

import re
from dataclasses import dataclass

# Written after the "$" of what was \(…\): no price, whatever stands beside it.
IS_MATH = "{}"
MATH_FENCE = "`````"

CLOSER = {"$$": "$$", r"\[": r"\]"}
FENCE = re.compile(r"^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(`{3,}|~{3,})")
CODE_SPAN = re.compile(r"(`+[^`]*`+)")
# Bounded: without the 999, 100 KB of "\(" took seconds.
INLINE = re.compile(r"(?<!\\)(?:\\\(((?:[^\\]|\\[^()]){1,999})\\\)|\\\[((?:[^\\]|\\[^\[\]]){1,999})\\\])")


@dataclass(frozen=True, slots=True)
class Prepared:
    """``text`` for the parser. ``in_fence``: it ends inside code or a formula. ``waiting``: the line of a
    formula's beginning whose end has not come yet, so that it may still turn out to be none.
    """

    text: str
    in_fence: bool = False
    waiting: int | None = None


def line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def prepare(text: str, *, final: bool = True) -> Prepared:
    """``text`` for the parser; not ``final`` where more of it may come."""
    lines = _Lines(line_ends(text), final)
    return lines.prepared()


class _Lines:
    """One pass over a text's lines, knowing whether they are code."""

    def __init__(self, text: str, final: bool) -> None:
        self._lines = text.split("\n")
        self._final = final
        self._fence: str | None = None  # what closes it
        self._indent = ""  # what stood before a formula's opener
        self._column = 0  # of the opener: a list item or quote that ends, ends its fence
        self._waiting: int | None = None
        self._dead_end: dict[tuple[str, str], int] = {}

    def prepared(self) -> Prepared:
        for number, line in enumerate(self._lines):
            self._take(number, line)
        return Prepared("\n".join(self._lines), bool(self._fence), self._waiting)

    def _take(self, number: int, line: str) -> None:
        bare = line.strip(" \t>")
        indent = line[: len(line) - len(line.lstrip(" \t>"))]
        if self._fence and bare and self._column > 1 and len(indent) < self._column:
            self._fence = None
        if self._fence:
            self._look_for_the_end(number, bare, indent)
        elif fence := FENCE.match(line):
            self._fence, self._column = fence[1], fence.start(1)
        elif bare in CLOSER:
            self._open_formula(number, bare, indent)
        elif "\\" in line:
            pieces = CODE_SPAN.split(line)
            pieces[::2] = [INLINE.sub(_dollars, piece) for piece in pieces[::2]]
            self._lines[number] = "".join(pieces)

    def _look_for_the_end(self, number: int, bare: str, indent: str) -> None:
        assert self._fence is not None
        if self._fence in CLOSER.values():
            if bare == self._fence and indent == self._indent:
                self._lines[number], self._fence = indent + MATH_FENCE, None
        elif bare.startswith(self._fence) and not bare.strip(self._fence[0]):
            self._fence = None

    def _open_formula(self, number: int, opener: str, indent: str) -> None:
        """A formula ends at its closer; a blank line or less indentation before that, and it is none."""
        closed = self._closes(number, indent, CLOSER[opener])
        if closed or (closed is None and not self._final):
            self._lines[number] = f"{indent}{MATH_FENCE}math"
            self._fence, self._indent, self._column = CLOSER[opener], indent, len(indent)
            self._waiting = None if closed else number

    def _closes(self, number: int, indent: str, closer: str) -> bool | None:
        """Whether the formula that begins here ends; None where the text ends first."""
        if number < self._dead_end.get((indent, closer), 0):
            return False
        last = len(self._lines) - 1
        for later in range(number + 1, len(self._lines)):
            line = self._lines[later].rstrip()
            if line == indent + closer:
                return True
            if later == last and not self._final:
                break
            if not line.startswith(indent) or not line.strip(" \t>"):
                self._dead_end[indent, closer] = later  # 50,000 openers would look this far each
                return False
        self._dead_end[indent, closer] = len(self._lines)
        return None


def _dollars(found: re.Match[str]) -> str:
    inline, display = found.groups()
    if inline is None:
        return f"$${display}$$"
    return f"${IS_MATH}{inline.strip()}$"
