"""Emphasis where punctuation is inside the stars and a letter touches them outside: ``**Note:**this``.

In CommonMark ``**`` does not close between punctuation and a letter. By the rule of markdown-cjk-friendly a
run of stars may open and close wherever a CJK character touches it. In other scripts ``**`` may do so between
a letter and a few signs that no formula and no code has there. The parser lacks these rules, but a run
between two letters may open and close: so a mark that it takes for a letter goes on each side.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

SOUTH_EAST_ASIAN = "\u0e01-\u0eff\u0f00-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
HAS_CJK = re.compile(
    f"[{SOUTH_EAST_ASIAN}"
    "\u1100-\u11ff\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\uffee\U00020000-\U0003ffff]"
)
IN_SOUTH_EAST_ASIA = re.compile(f"[{SOUTH_EAST_ASIAN}]")
DELIMITER_RUN = re.compile(r"\\[\s\S]|\*+|~~")
LETTER = "[A-Za-z\u00c0-\u1fff\u2c00-\u2dff\ua640-\uabff]"  # or a mark above or below one
# Not after a comma or a bracket: f(a,**b) and (a)**b are code.
TIGHT_RUN = re.compile(
    rf"""(?<=[.:;!?\u2026"'\u201d\u2019\u00bb\u201c\u2039\u203a\u0964\u061f])\*{{2,3}}(?={LETTER})"""
    rf"""|(?<={LETTER})\*{{2,3}}(?=["'\u201c\u201d\u201e\u00ab\u201a\u2018])"""
)


def runs_to_mark(text: str) -> Iterator[tuple[int, int]]:
    """Yield the runs of stars and tildes that CommonMark would read wrongly, in order."""
    if not HAS_CJK.search(text):
        yield from (found.span() for found in TIGHT_RUN.finditer(text))
        return
    for found in DELIMITER_RUN.finditer(text):
        start, end = found.span()
        if found[0][0] == "\\" or start == 0 or end == len(text):
            continue
        before, after = _kind(text[start - 1]), _kind(text[end])
        if TIGHT_RUN.match(text, start):
            yield start, end
        elif "space" in (before, after) or "cjk" not in (before.partition(" ")[0], after.partition(" ")[0]):
            continue
        elif "punctuation" in before or "punctuation" in after:
            yield start, end


@lru_cache(4096)
def _kind(letter: str) -> str:
    """Return "space", "letter", "punctuation", "cjk letter" or "cjk punctuation"."""
    category = unicodedata.category(letter)
    if letter.isspace() or category == "Zs":
        return "space"
    kind = "punctuation" if category[0] in "PS" else "letter"
    is_cjk = (unicodedata.east_asian_width(letter) in "WFH" and category != "So") or bool(
        IN_SOUTH_EAST_ASIA.match(letter)
    )
    return f"cjk {kind}" if is_cjk else kind
