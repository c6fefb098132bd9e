"""Completion of unfinished Markdown for display: open marks closed, half ones left out; never stored."""

import re

# A last line that may still become any block: "-", "1.", "##", "|--", "- [".
UNDECIDED = re.compile(
    r"^[ \t>]*(?:[-*+_=#~`|:$\s]+|\\\[|\d{1,9}[.)]?|(?:[-*+]|\d{1,9}[.)])\s+\[?[ xX]?\]?)\s*$"
)
BEGINNING = re.compile(r"(?m)^[ \t>]*(?:[-*+]|\d{1,9}[.)]|#{1,6}|\|)(?=[ \t|])")
MARK = re.compile(r"\*\*|\*|~~|(?<!\w)__|__(?!\w)|(?<!\w)_|_(?!\w)")
BULLET = re.compile(r"^[ \t>]*[-*+][ \t]")
HALF_MARK = re.compile(r"<[a-zA-Z/]*$|\\$|(?<!~)~$")
HALF_IMAGE = re.compile(r"!\[[^\[\]\n]*(?:\](?:\([^)\[\n]*)?)?$")
HALF_LINK = re.compile(r"\[([^\[\]\n]*)(?:\](?:\([^)\[\n]*)?)?$")
HALF_FENCE = re.compile(r"\n[ \t>]*(?:[`~]{1,2}|\$|\\)$")
# A dollar sign that may begin a formula rather than a price.
DOLLAR = re.compile(r"(?<![\\$\w])\$(?=[^\s$\d]|$)")
TEX_CHARACTER = re.compile(r"[\\^_{]")
CODE_SPAN = re.compile(r"(?<!`)(`+)[^`]+\1(?!`)")
OPENERS = ("\\(", "\\[", "$$")
# At most this many characters of an unfinished formula are held back, or of a text that may be one:
# "$x" or "$HOME".
MAX_HELD = 300
MAX_HELD_WORDS = 40
MAX_UNDECIDED = 200  # characters of a last line; a longer one is shown
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
    return text[:cut] + _completed(text[cut:])


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
    segment = HALF_LINK.sub(r"\1", segment)
    bare = CODE_SPAN.sub(_blank, segment)
    if "`" in bare:
        return _close_code(segment, bare)
    at = _half_formula(bare)
    return _close_marks(segment[:at], BULLET.sub(_blank, bare[:at]))


def _blank(found: re.Match[str]) -> str:
    return " " * len(found[0])


def _close_code(segment: str, bare: str) -> str:
    ticks = re.search(r"`+", bare)
    assert ticks is not None
    return segment + ticks[0] if bare[ticks.end() :].strip() else segment[: ticks.start()]


def _half_formula(bare: str) -> int:
    """Return the start of an unclosed formula, else the end. A long one is shown as it is."""
    end = len(bare)
    openers = [at for opener in OPENERS if (at := bare.find(opener)) >= 0 and end - at <= MAX_HELD]
    found = DOLLAR.search(bare)
    most = MAX_HELD if found and TEX_CHARACTER.search(bare, found.end()) else MAX_HELD_WORDS
    if found and end - found.start() <= most:
        openers.append(found.start())
    return min(openers, default=end)


def _close_marks(segment: str, bare: str) -> str:
    stack: list[tuple[str, int]] = []
    for found in MARK.finditer(bare):
        if stack and stack[-1][0] == found[0] and not bare[found.start() - 1].isspace():
            stack.pop()
        elif bare[found.end() : found.end() + 1].strip() or found.end() == len(bare):
            stack.append((found[0], found.end()))
    end = len(segment)
    while stack and stack[-1][1] == end:  # nothing after the opener yet
        end -= len(stack.pop()[0])
    return segment[:end].rstrip() + "".join(mark for mark, _end in reversed(stack))
