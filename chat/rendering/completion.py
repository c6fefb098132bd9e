"""Completion of unfinished Markdown for display: open marks closed, half ones left out; never stored."""

import re

from chat.rendering import tables
from chat.rendering.formula_finder import COMMAND, TWO_WORDS

# A last line that may still become any block: "-", "1.", "##", "|--", "- [", "> [!".
UNDECIDED = re.compile(
    r"^[ \t>]*(?:[-*+_=#~`|:$\s]+|\\\[|\d{1,9}[.)]?|(?:[-*+]|\d{1,9}[.)])\s+\[?[ xX]?\]?"
    r"|(?<=>)[ \t]*\[!?[A-Za-z]*\]?)\s*$"
)
BEGINNING = re.compile(r"(?m)^[ \t>]*(?:[-*+]|\d{1,9}[.)]|#{1,6}|\|)(?=[ \t|])")
MARK = re.compile(r"\\[\s\S]|\*{1,3}|~~|(?<!\w)__|__(?!\w)|(?<!\w)_|_(?!\w)")
BULLET = re.compile(r"^[ \t>]*[-*+][ \t]")
HALF_MARK = re.compile(r"<[a-zA-Z/]*$|\\$|(?<!~)~$|&(?:#?[A-Za-z0-9]{1,31})?$")
HALF_IMAGE = re.compile(r"!\[[^\[\]\n]*(?:\](?:\([^)\[\n]*)?)?$")
HALF_LINK = re.compile(r"(?<!\\)\[([^\[\]\n]*)\]?$")
HALF_TARGET = re.compile(r"\]\([^)\n]*$")
LINK_TARGET = re.compile(r"\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)")
HALF_FENCE = re.compile(r"\n[ \t>]*(?:[`~]{1,2}|\$|\\)$")
# A dollar sign that may begin a formula rather than a price, and one that may begin either.
DOLLAR = re.compile(r"(?<![\\$A-Za-z0-9_])\$(?=[^\s$\d]|$)")
DOLLAR_AND_DIGIT = re.compile(r"(?<![\\$A-Za-z0-9_])\$(?=\d)[^$]*$")
TEX_CHARACTER = re.compile(r"[\\^_{]")
UNESCAPED_TICKS = re.compile(r"(?<![\\`])`+")
OF_DIGITS = re.compile(r"\d\*(?=\d)")
TABLE_ROW = re.compile(r"[ \t>]*\|")
TABLE_RULE = re.compile(r"(?m)^[ \t>]*\|?[ \t]*:?-+:?[ \t]*\|")
OPENERS = ("\\(", "\\[", "$$")
# At most this many characters of an unfinished formula are held back, or of a text that may be one:
# "$x" or "$HOME".
MAX_HELD = 300
MAX_HELD_WORDS = 40
MAX_UNDECIDED = 200  # characters of a last line; a longer one is shown
MAX_LABEL = 500  # characters of a link's text that are searched for its bracket
MAX_SEGMENT = 8_000  # characters without a blank line: beyond, marks are shown as they come


def complete(text: str) -> str:
    """Return a prepared text that ends outside code, with open marks closed and half ones left out."""
    head, _, last = text.rpartition("\n")
    if len(last) <= MAX_UNDECIDED and UNDECIDED.match(last):
        return head + "\n"
    cut = text.rfind("\n\n") + 2 if "\n\n" in text else 0
    for found in BEGINNING.finditer(text, cut):
        cut = found.start()
    if len(text) - cut > MAX_SEGMENT:
        return text
    completed = text[:cut] + _completed(text[cut:])
    head, _, last = completed.rpartition("\n")
    return head + "\n" if UNDECIDED.match(last) else completed


def without_waiting(text: str, line: int) -> str:
    """Return ``text`` without the lines after one with an unclosed formula, unless they are many."""
    kept = "\n".join(text.split("\n")[: line + 1])
    return kept if len(text) - len(kept) <= MAX_HELD else text


def without_half_table(text: str) -> str:
    """Return ``text`` without a table's head whose |---| row is not complete."""
    head, gap, paragraph = text.strip("\n").rpartition("\n\n")
    rows = paragraph.split("\n")
    undecided = len(rows) == 1 or (len(rows) == 2 and not text.endswith("\n"))
    return head + gap if rows[0].lstrip().startswith("|") and undecided else text


def without_half_fence(text: str) -> str:
    """Return a text that ends inside code, without the beginning of its closing fence."""
    return HALF_FENCE.sub("\n", text)


def _completed(segment: str) -> str:
    segment = HALF_MARK.sub("", segment)
    segment = HALF_IMAGE.sub("", segment)
    segment = _without_half_target(segment)
    segment = HALF_LINK.sub(r"\1", segment)
    segment, bare = _with_closed_code(segment)
    at = _half_formula(LINK_TARGET.sub(_blank, bare))
    return _close_marks(segment[:at], BULLET.sub(_blank, bare[:at]))


def _blank(found: re.Match[str]) -> str:
    return " " * len(found[0])


def _without_half_target(segment: str) -> str:
    """Return a segment that ends inside a link's address with the link's text only."""
    found = HALF_TARGET.search(segment)
    if not found:
        return segment
    depth, at = 1, found.start()
    while depth and at > max(0, found.start() - MAX_LABEL):
        at -= 1
        depth += (segment[at] == "]") - (segment[at] == "[")
    return segment if depth else segment[:at] + segment[at + 1 : found.start()]


def _with_closed_code(segment: str) -> tuple[str, str]:
    """Return a segment with its last code span closed, and the same with letters for all code."""
    line = segment.rfind("\n") + 1
    in_row = TABLE_ROW.match(segment, line) or ("|" in segment[line:] and TABLE_RULE.search(segment))
    if in_row:
        segment = segment[:line] + tables.with_bars_in_code(segment[line:])
    bare, at = "", 0
    for start, end in tables.code_spans(segment):
        bare += segment[at:start] + "x" * (end - start)
        at = end
    bare += segment[at:]
    ticks = UNESCAPED_TICKS.search(bare)
    if not ticks:
        return segment, bare
    inside = segment[ticks.end() :].rstrip("`")
    if not inside.strip():
        return segment[: ticks.start()], bare[: ticks.start()]
    if in_row and ticks.start() >= line:
        inside = tables.with_escaped_bars(inside)
    closed = ticks[0] + inside + ticks[0]
    return segment[: ticks.start()] + closed, bare[: ticks.start()] + "x" * len(closed)


def _half_formula(bare: str) -> int:
    """Return the start of an unclosed formula, else the end. A long one is shown as it is."""
    end = len(bare)
    openers = [at for opener in OPENERS if (at := bare.find(opener)) >= 0 and end - at <= MAX_HELD]
    found = DOLLAR.search(bare)
    most = MAX_HELD if found and TEX_CHARACTER.search(bare, found.end()) else MAX_HELD_WORDS
    if found and end - found.start() <= most:
        openers.append(found.start())
    price = DOLLAR_AND_DIGIT.search(bare)
    if price and len(price[0]) <= MAX_HELD and TEX_CHARACTER.search(price[0]):
        openers += [] if TWO_WORDS.search(COMMAND.sub(" ", price[0])) else [price.start()]
    return min(openers, default=end)


def _close_marks(segment: str, bare: str) -> str:
    stack: list[tuple[str, int]] = []
    for found in MARK.finditer(bare):
        if found[0][0] == "\\" or OF_DIGITS.match(bare, found.start() - 1):
            continue
        ends = bool(stack) and not bare[found.start() - 1].isspace()
        if ends and stack[-1][0] == found[0]:
            stack.pop()
        elif ends and stack[-1][0] == "***" and "*" in found[0] and found.end() < len(bare):
            stack[-1] = ("*" * (3 - len(found[0])), stack[-1][1])
        elif bare[found.end() : found.end() + 1].strip() or found.end() == len(bare):
            stack.append((found[0], found.end()))
    end = len(segment)
    while stack and stack[-1][1] == end:  # nothing after the opener yet
        end -= len(stack.pop()[0])
    return segment[:end].rstrip() + "".join(mark for mark, _end in reversed(stack))
