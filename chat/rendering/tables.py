"""Repair of table rows with more cells than the table has columns, which the parser would drop.

In such a row, bars inside code and formulas are escaped; cells that are still too many join the last one.
"""

import re
from collections.abc import Iterator

from chat.rendering.layout import Spans

RULE = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?")
BAR = re.compile(r"\\[\s\S]|\|")
TICKS = re.compile(r"`+")
# A formula without a space at its ends: a bar in it does not end a cell.
FORMULA_IN_ROW = re.compile(r"\\\((?:(?!\\[()])[^\n])*\\\)|\\[\s\S]|\$(?![\s$])[^$]*[^\s$]\$(?!\d)|\$")


def wide_rows(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the number of each row that has too many cells, and the row as the parser should see it."""
    n = 1
    while n < len(lines):
        columns = _columns(lines[n])
        if not columns or not lines[n - 1].strip(" \t>"):
            n += 1
            continue
        if len(_bars(lines[n - 1])) >= columns and (head := _with_inline_bars(lines[n - 1])):
            yield n - 1, head
        n += 1
        while n < len(lines) and lines[n].strip(" \t>"):
            if len(_bars(lines[n])) >= columns:
                yield n, _within(lines[n], columns)
            n += 1


def outside(lines: list[str], blocks: Spans) -> list[str]:
    """Return the lines, with those of code blocks empty."""
    kept, at = [], 0
    for line in lines:
        kept.append("" if blocks.meet(at, at + len(line) + 1) else line)
        at += len(line) + 1
    return kept


def _columns(line: str) -> int:
    """Return the number of columns of a delimiter row such as |--|--|; 0 for any other line."""
    bare = line.strip(" \t>")
    if "-" not in bare or "|" not in bare or not RULE.fullmatch(bare):
        return 0
    return bare.strip("|").count("|") + 1


def _bars(line: str) -> list[int]:
    """Return the positions of a row's inner bars."""
    bare = line.rstrip()
    found = [bar.start() for bar in BAR.finditer(bare) if bar[0] == "|"]
    if found and not bare[: found[0]].strip(" \t>"):
        del found[0]
    if found and found[-1] == len(bare) - 1:
        del found[-1]
    return found


def _with_inline_bars(line: str) -> str:
    """Return the row with the bars of code and formulas escaped."""
    pieces, at = [], 0
    for start, end in code_spans(line):
        pieces += [FORMULA_IN_ROW.sub(_escaped, line[at:start]), with_escaped_bars(line[start:end])]
        at = end
    return "".join([*pieces, FORMULA_IN_ROW.sub(_escaped, line[at:])])


def code_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the ranges between each run of ticks and the next one as long."""
    runs = [(found.start(), found.end()) for found in TICKS.finditer(text)]
    closers: list[int | None] = []
    next_of: dict[int, int] = {}
    for start, end in reversed(runs):
        closers.append(next_of.get(end - start))
        next_of[end - start] = end
    at = 0
    for (start, _end), closer in zip(runs, reversed(closers), strict=True):
        if start >= at and closer is not None and text[start - 1 : start] != "\\":
            yield start, closer
            at = closer


def with_bars_in_code(line: str) -> str:
    """Return an unfinished row with the bars of its code escaped."""
    pieces, at = [], 0
    for start, end in code_spans(line):
        pieces += [line[at:start], with_escaped_bars(line[start:end])]
        at = end
    return "".join([*pieces, line[at:]])


def with_escaped_bars(text: str) -> str:
    return BAR.sub(_escaped_bar, text)


def _within(line: str, columns: int) -> str:
    """Return a row that has no more cells than the table has columns."""
    line = _with_inline_bars(line)
    pieces, at = [], 0
    for bar in _bars(line)[columns - 1 :]:
        pieces += [line[at:bar], "\\"]
        at = bar
    return "".join([*pieces, line[at:]])


def _escaped(found: re.Match[str]) -> str:
    return with_escaped_bars(found[0])


def _escaped_bar(found: re.Match[str]) -> str:
    return "\\|" if found[0] == "|" else found[0]
