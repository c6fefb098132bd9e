"""Terms of a text as the full-text index holds them, and of a search."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from accounts.folding import fold

TERMS = 8  # of a search
TERM_LENGTH = 64  # characters; longer words are found by their beginning
SLICE = 32_768  # characters that are folded at once: Python's other threads wait meanwhile, 2 ms

# Scripts written without spaces, and Korean, whose words take endings. Letters and marks, no punctuation.
_UNSPACED = (
    (0x0E01, 0x0E3A), (0x0E40, 0x0E4E), (0x0E81, 0x0ECD), (0x0EDC, 0x0EDF), (0x1000, 0x103F),
    (0x1050, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17D3), (0x17DC, 0x17DD), (0x3005, 0x3007),
    (0x3041, 0x309A), (0x309D, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x312F), (0x31A0, 0x31BF),
    (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7FB), (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)  # fmt: skip
_ALPHABETS_END = 0x1F000  # beyond are symbols, and the last range of _UNSPACED


def _class_of_spaced() -> str:
    """Return a character class of the letters, digits and marks of all other scripts."""
    unspaced = {code for first, last in _UNSPACED if last < _ALPHABETS_END for code in range(first, last + 1)}
    ranges: list[list[int]] = []
    for code in range(0x30, _ALPHABETS_END):
        char = chr(code)
        if code in unspaced or not (char.isalnum() or unicodedata.category(char)[0] == "M"):
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


_RUNS = re.compile(
    f"([{''.join(f'{chr(first)}-{chr(last)}' for first, last in _UNSPACED)}]+)|([{_class_of_spaced()}]+)"
)

# A character with the marks after it, and half-width kana with its voicing mark.
_CLUSTER = re.compile(
    "[^\uff9e\uff9f][\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u064b-\u065f\u3099\u309a\uff9e\uff9f]*|."
)


def terms_of(text: str) -> Iterator[str]:
    """Yield the terms of a text in order: words, and pairs of characters in scripts without spaces.

    The last character of such a run is a term too: each character begins a term.
    """
    for part in _slices(text):
        for unspaced, word in _RUNS.findall(fold(part)):
            if word:
                yield word[:TERM_LENGTH]
            else:
                yield from map("".join, pairwise(unspaced))
                yield unspaced[-1]


def _slices(text: str) -> Iterator[str]:
    """Cut a text at spaces, if there are any."""
    start = 0
    while start < len(text):
        end = start + SLICE
        if end < len(text):
            space = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
            end = space if space > start else end
        yield text[start:end]
        start = end


@dataclass(frozen=True, slots=True)
class Phrase:
    """Terms in a row; with ``is_prefix`` the last one may be the beginning of a longer one."""

    terms: list[str]
    is_prefix: bool
    words: list[str]  # the folded words and runs that the terms are made of, to mark them


def phrases_of(search: str, prefix_length: int) -> list[Phrase]:
    """Return the first TERMS words and quoted phrases of a search; none if it has no letter and no digit.

    Words of ``prefix_length`` characters or more also match longer words.
    """
    pieces = (quoted or word for quoted, word in re.findall(r'"([^"]*)"|(\S+)', search))
    phrases = (_phrase(piece, prefix_length) for piece in pieces)
    return [phrase for phrase in phrases if phrase][:TERMS]


def _phrase(piece: str, prefix_length: int) -> Phrase | None:
    terms, is_prefix = list(terms_of(piece)), False
    if not terms:
        return None
    runs = _RUNS.findall(fold(piece))
    unspaced, word = runs[-1]
    if word:
        is_prefix = len(word) >= prefix_length
    elif len(unspaced) == 1:
        is_prefix = True
    else:
        terms.pop()  # in a text the run may go on
    return Phrase(terms, is_prefix, [run or word[:TERM_LENGTH] for run, word in runs])


def marks_in(text: str, phrases: Sequence[Phrase]) -> Iterator[tuple[int, int]]:
    """Yield the places of the phrases' words in a text in NFC, as start and end, in order."""
    whole = {word for phrase in phrases for word in phrase.words}
    beginnings = {phrase.words[-1] for phrase in phrases if phrase.is_prefix}
    for piece in re.finditer(r"\S+", text):
        folded = fold(piece[0])
        if not any(word in folded for word in whole):
            continue
        places = _places(piece[0])
        folded = "".join(char for char, _start, _end in places)
        for start, end in _matches(folded, whole, beginnings):
            yield piece.start() + places[start][1], piece.start() + places[end - 1][2]


def _places(piece: str) -> list[tuple[str, int, int]]:
    """Return each folded character with the start and end of what it was folded from."""
    found = []
    for cluster in re.finditer(_CLUSTER, piece):
        found += [(char, cluster.start(), cluster.end()) for char in fold(cluster[0])]
    return found


def _matches(folded: str, whole: set[str], beginnings: set[str]) -> Iterator[tuple[int, int]]:
    for run in _RUNS.finditer(folded):
        if run[1]:
            inside = (re.search(re.escape(word), run[0]) for word in whole)
            yield from sorted((run.start() + m.start(), run.start() + m.end()) for m in inside if m)
        elif run[0][:TERM_LENGTH] in whole:
            yield run.span()
        else:
            lengths = [len(word) for word in beginnings if run[0].startswith(word)]
            if lengths:
                yield run.start(), run.start() + max(lengths)
