r"""Preprocessing of a text for the parser: line ends, formulas, wide tables, addresses, CJK emphasis.

The parser knows neither formulas nor CJK emphasis: placeholders stand for formulas, and escapes make it read
the rest correctly. The number of lines stays the same, so that a block's lines are those of the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from chat.rendering import emphasis, links, placeholders, tables
from chat.rendering.formula_finder import Formula, FormulaFinder
from chat.rendering.layout import Definitions, Layout, Leaf, ParserEvent, Spans, events, layout_of

MATH_FENCE = "`````"
# A heading ends a paragraph and is one line. The writer turns it into a display formula.
MATH_LINE = "###### "
IN_ADDRESS = re.compile(r"[*_~]")


@dataclass(frozen=True, slots=True)
class Prepared:
    """``text`` for the parser, the parser's events, and the formulas of its placeholders.

    ``in_fence``: it ends inside code or a formula. ``waiting``: the line of the first formula that may still
    be closed. ``final``: no more of it will come.
    """

    text: str
    events: list[ParserEvent]
    formulas: list[Formula] = field(default_factory=list)
    in_fence: bool = False
    waiting: int | None = None
    final: bool = True


def line_ends(text: str) -> str:
    """Return ``text`` with line feeds as line ends, and without placeholder characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    return text if text.isascii() else placeholders.ANY.sub("\ufffd", text)


def prepare(text: str, definitions: Definitions | None = None, *, final: bool = True) -> Prepared:
    """Return ``text`` for the parser. ``final``: no more of it will come."""
    text = line_ends(text)
    found = events(text, definitions)
    layout = layout_of(text, found)
    if narrow := _without_wide_rows(text, layout):
        text, found = narrow, events(narrow, definitions)
        layout = layout_of(text, found)
    addresses = Spans(
        (start, end)
        for start, end in links.addresses(text)
        if layout.leaf_at(start) and not layout.code.meet(start, end) and not layout.fixed.meet(start, end)
    )
    finder = FormulaFinder(text, layout, addresses, final=final)
    rewritten = _Rewriter(text, layout, finder, addresses).rewritten()
    return Prepared(
        rewritten,
        found if rewritten is text else events(rewritten, definitions),
        finder.formulas,
        in_fence=layout.open_fence or (bool(finder.formulas) and finder.formulas[-1].is_open),
        waiting=None if finder.waiting is None else text.count("\n", 0, finder.waiting),
        final=final,
    )


def with_text(prepared: Prepared, text: str, definitions: Definitions | None) -> Prepared:
    """Return ``prepared`` with another text that has the same formulas."""
    return (
        prepared if text == prepared.text else replace(prepared, text=text, events=events(text, definitions))
    )


def _without_wide_rows(text: str, layout: Layout) -> str:
    """Return ``text`` with its too wide table rows repaired; empty if there are none."""
    if "|" not in text:
        return ""
    lines = text.split("\n")
    found = dict(tables.wide_rows(tables.outside(lines, layout.blocks)))
    return "\n".join(found.get(n, line) for n, line in enumerate(lines)) if found else ""


class _Rewriter:
    """Inserter of placeholders and escapes into a text."""

    def __init__(self, text: str, layout: Layout, finder: FormulaFinder, addresses: Spans) -> None:
        self._text = text
        self._layout = layout
        self._finder = finder
        self._addresses = addresses

    def rewritten(self) -> str:
        pieces, at = [], 0
        for start, end, new in self._edits():
            pieces += [self._text[at:start], new]
            at = end
        return "".join([*pieces, self._text[at:]]) if pieces else self._text

    def _edits(self) -> list[tuple[int, int, str]]:
        formulas = [self._formula(number, each) for number, each in enumerate(self._finder.formulas)]
        taken = Spans((start, end) for start, end, _new in formulas)
        others = [
            edit for edit in (*self._escapes(), *self._letters()) if not taken.meet(edit[0], edit[1] + 1)
        ]
        return sorted([*formulas, *others])

    def _escapes(self) -> Iterator[tuple[int, int, str]]:
        """Yield a backslash before each character of an address that could be emphasis."""
        for start, end in zip(self._addresses.starts, self._addresses.ends, strict=True):
            for found in IN_ADDRESS.finditer(self._text, start, end):
                yield found.start(), found.start(), "\\"

    def _letters(self) -> Iterator[tuple[int, int, str]]:
        """Yield a letter on both sides of each run that CommonMark reads wrongly."""
        for start, end in emphasis.runs_to_mark(self._text):
            is_inline = self._layout.leaf_at(start) and not self._addresses.cover(start)
            if is_inline and not self._layout.code.cover(start) and not self._layout.fixed.cover(start):
                yield start, start, placeholders.LETTER_MARK
                yield end, end, placeholders.LETTER_MARK

    def _formula(self, number: int, formula: Formula) -> tuple[int, int, str]:
        text, start, end = self._text, formula.start, formula.end
        mark = placeholders.for_formula(number)
        leaf = self._layout.leaf_at(start)
        assert leaf is not None
        further = self._finder.prefix(leaf)[1]
        lines = text.count("\n", start, end)
        if self._is_a_block(formula, leaf):
            begin = start if start == leaf.start else text.rfind("\n", 0, start) + 1
            first = "" if begin == start else further
            if not lines:
                return begin, end, f"{first}{MATH_LINE}{mark}"
            inner = f"\n{further}{placeholders.FURTHER_LINE}" * (lines - (not formula.is_open))
            closing = "" if formula.is_open else f"\n{further}{MATH_FENCE}"
            return begin, end, f"{first}{MATH_FENCE}math {mark}{inner}{closing}"
        return start, end, mark + f"\n{further}{placeholders.FURTHER_LINE}" * lines

    def _is_a_block(self, formula: Formula, leaf: Leaf) -> bool:
        """Return whether a formula shares its lines with no other text."""
        if not formula.display or leaf.kind != "text" or not self._finder.begins_a_line(formula.start):
            return False
        line_end = self._text.find("\n", formula.end)
        return not self._text[formula.end : line_end if line_end >= 0 else len(self._text)].strip()
