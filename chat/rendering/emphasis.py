"""Emphasis beside Chinese, Japanese and Korean characters, which are written without spaces.

In CommonMark ``**`` does not close between full-width punctuation and a letter. By the rule of
markdown-cjk-friendly a run of stars may open and close wherever a CJK character touches it. The parser
lacks that rule, but a run between two letters may do both: so a mark that it takes for a letter goes on
each side.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

HAS_CJK = re.compile(
    "[\u1100-\u11ff\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\uffee\U00020000-\U0003ffff]"
)
DELIMITER_RUN = re.compile(r"\\[\s\S]|\*+|~~")


def runs_to_mark(text: str) -> Iterator[tuple[int, int]]:
    """Yield the runs of stars and tildes that CommonMark would read wrongly beside CJK characters."""
    if not HAS_CJK.search(text):
        return
    for found in DELIMITER_RUN.finditer(text):
        start, end = found.span()
        if found[0][0] == "\\" or start == 0 or end == len(text):
            continue
        before, after = _kind(text[start - 1]), _kind(text[end])
        if "space" in (before, after) or "cjk" not in (before.partition(" ")[0], after.partition(" ")[0]):
            continue
        if "punctuation" in before or "punctuation" in after:
            yield start, end


@lru_cache(4096)
def _kind(letter: str) -> str:
    """Return "space", "letter", "punctuation", "cjk letter" or "cjk punctuation"."""
    category = unicodedata.category(letter)
    if letter.isspace() or category == "Zs":
        return "space"
    kind = "punctuation" if category[0] in "PS" else "letter"
    is_cjk = unicodedata.east_asian_width(letter) in "WFH" and category != "So"
    return f"cjk {kind}" if is_cjk else kind
