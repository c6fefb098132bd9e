r"""Finder of the formulas of a text, in four spellings: ``$x$``, ``$$x$$``, ``\(x\)`` and ``\[x\]``.

Each delimiter is paired with the next one of its kind, or is text: the time is linear.
"""

import re
from bisect import bisect_left
from dataclasses import dataclass

from chat.rendering.layout import Layout, Leaf, Spans
from chat.rendering.mathml import MAX_FORMULA_LENGTH

# A backslash escapes the next character: a pair is one match.
DELIMITER = re.compile(r"\\[\s\S]|\$+")
CLOSER = {"\\(": "\\)", "\\[": "\\]"}
BLANK_LINE = re.compile(r"\n[ \t>]*(?=\n)")
ITEM = re.compile(r"[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]")
# Only these may precede a formula on its line for it to be a block.
CONTAINERS = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+[ \t>]*)*")

# A TeX command, with its group of text.
COMMAND = re.compile(r"\\(?:[A-Za-z]+\*?(?:[ ]?\{[^{}\\]*\})?|.)", re.DOTALL)
TEX_SYNTAX = re.compile(r"\\[A-Za-z]|[\^_{]")
SIGN = re.compile(r"[\\^_={}<>+*/|]")
WORD_OF_LETTERS = re.compile(r"(?<![^\W_])[^\W\d_]{2,}")
TWO_WORDS = re.compile(r"[^\W\d_]{2,}[ \n,;]+[^\W\d_]{2,}")
FUNCTIONS = {"sin", "cos", "tan", "log", "ln", "exp", "lim", "max", "min", "mod", "gcd", "det", "dim"}
VARIABLE = re.compile(r"[A-Za-z_]\w+(?:[/:.-]\w*|\[\w+\])*|\{\w+\}")
INDEXED = re.compile(
    r"[A-Za-z]?_\w|[A-Za-z]_\w+"
)  # x_1 is a variable of mathematics, and _2 is a part of one
ONE_LETTER = re.compile(r"\s*[A-Za-z]\s*")
NOT_OF_WORDS = re.compile(r"[^\w\s.,;:'\u2019\"-]")
LINK = re.compile(r"\]\((?:https?:|mailto:|[/#])")


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula and its range in the text. ``is_open``: it may still be closed."""

    start: int
    end: int
    source: str
    tex: str
    display: bool
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    start: int
    end: int


class FormulaFinder:
    """Formulas of a text; ``waiting`` is the start of the first one that may still be closed."""

    def __init__(self, text: str, layout: Layout, apart: Spans, *, final: bool) -> None:
        self.formulas: list[Formula] = []
        self.waiting: int | None = None
        self._text = text
        self._layout = layout
        self._final = final
        self._blank = (
            [found.start() for found in BLANK_LINE.finditer(text)] if "$" in text or "\\" in text else []
        )
        tokens = [
            _Token(found[0], found.start(), found.end())
            for found in DELIMITER.finditer(text)
            if (found[0][0] == "$" or found[0] in {"\\(", "\\)", "\\[", "\\]"})
            and not layout.code.cover(found.start())
            and not layout.fixed.cover(found.start())
            and not apart.cover(found.start())
        ]  # fmt: skip
        self._of_kind = {
            "$": [token for token in tokens if token.kind[0] == "$"],
            "$$": [token for token in tokens if token.kind.startswith("$$")],
            "\\(": [token for token in tokens if token.kind in ("\\(", "\\)")],
            "\\[": [token for token in tokens if token.kind in ("\\[", "\\]")],
        }
        end = 0
        for token in tokens:
            if token.start >= end and token.kind in self._of_kind:
                found = self._formula(token)
                if found:
                    self.formulas.append(found)
                    end = found.end

    def _formula(self, opener: _Token) -> Formula | None:
        leaf = self._layout.leaf_at(opener.start)
        if leaf is None:
            return None
        siblings = self._of_kind[opener.kind]
        n = bisect_left(siblings, opener.start, key=lambda token: token.start) + 1
        closer = siblings[n] if n < len(siblings) else None
        limit = self._limit(opener, leaf)
        if closer is None or closer.end > limit:
            return self._unclosed(opener, leaf, limit)
        tex = self._text[opener.end : closer.start]
        if closer.kind != CLOSER.get(opener.kind, opener.kind) or not self._is_meant(opener, closer, tex):
            return None
        if self._layout.link_is_cut(opener.start, closer.end):
            return None
        if "\n" in tex and (self._leaves_its_item(leaf, tex) or self._is_cut(opener, leaf, tex)):
            return None
        source = self._text[opener.start : closer.end]
        display = opener.kind in ("$$", "\\[")
        return Formula(opener.start, closer.end, source, self._bare(leaf, tex), display)

    def _limit(self, opener: _Token, leaf: Leaf) -> int:
        """Return where a formula that begins here must have ended."""
        end = leaf.end
        if self._is_alone(opener, leaf):
            end = len(self._text)
        elif leaf.kind == "text" and opener.kind != "$":
            n = bisect_left(self._blank, opener.start)
            end = self._blank[n] if n < len(self._blank) else len(self._text)
        code = self._layout.code.starts
        n = bisect_left(code, opener.start)
        return min(end, code[n] if n < len(code) else end, opener.end + MAX_FORMULA_LENGTH)

    def _is_alone(self, opener: _Token, leaf: Leaf) -> bool:
        """Return whether a delimiter has a line of its own. Such a formula may have blank lines."""
        if leaf.kind != "text" or opener.kind not in ("$$", "\\["):
            return False
        line_end = self._text.find("\n", opener.end)
        rest = self._text[opener.end : line_end if line_end >= 0 else len(self._text)]
        return not rest.strip() and self.begins_a_line(opener.start) and ">" not in self.prefix(leaf)[0]

    def _is_cut(self, opener: _Token, leaf: Leaf, tex: str) -> bool:
        """Return whether blank lines end a formula: it has words, or leaves the item that it is in."""
        if not BLANK_LINE.search(tex):
            return False
        further = self.prefix(leaf)[1]
        lines = [line for line in tex.split("\n")[1:] if line.strip()]
        return (
            not self._is_alone(opener, leaf)
            or not all(line.startswith(further) for line in lines)
            or bool(TWO_WORDS.search(COMMAND.sub(" ", tex)))
        )

    def _unclosed(self, opener: _Token, leaf: Leaf, limit: int) -> Formula | None:
        """Return the formula so far, if more text may close it."""
        if self._final or opener.kind == "$" or leaf.kind != "text" or limit < len(self._text):
            return None
        tex = self._text[opener.end :]
        if "\n" in tex and (self._leaves_its_item(leaf, tex) or self._is_cut(opener, leaf, tex)):
            return None
        if self.waiting is None:
            self.waiting = opener.start
        first, _, rest = tex.partition("\n")
        if opener.kind == "\\(" or not self.begins_a_line(opener.start) or not (rest or not first.strip()):
            return None
        if first.strip() and is_prose(first, opener.kind):
            return None
        shown = re.sub(r"(?:\\|\$)\Z", "", self._bare(leaf, tex))
        source = self._text[opener.start :]
        return Formula(opener.start, len(self._text), source, shown, display=True, is_open=True)

    def begins_a_line(self, at: int) -> bool:
        """Return whether only quote and list markers precede ``at`` on its line."""
        line = self._text.rfind("\n", 0, at) + 1
        return bool(CONTAINERS.fullmatch(self._text, line, at))

    def prefix(self, leaf: Leaf) -> tuple[str, str]:
        """Return the markers before a run of inline content, and those that its further lines need."""
        line = self._text.rfind("\n", 0, leaf.start) + 1
        before = self._text[line : leaf.start]
        return before, re.sub(r"[^>\t]", " ", before)

    def _leaves_its_item(self, leaf: Leaf, tex: str) -> bool:
        """Return whether a further line of the formula would begin another item of the same list."""
        before, further = self.prefix(leaf)
        if before == further:
            return False
        lines = tex.split("\n")[1:]
        return any(ITEM.match(line) and len(line) - len(line.lstrip(" \t>")) < len(further) for line in lines)

    def _bare(self, leaf: Leaf, tex: str) -> str:
        """Return a formula without the quote markers before its lines, or the escapes of a row's bars."""
        if leaf.kind == "row":
            return tex.replace("\\|", "|")
        depth = self.prefix(leaf)[0].count(">") if "\n" in tex else 0
        return re.sub(rf"\n(?:[ \t]*>){{1,{depth}}}", "\n", tex) if depth else tex

    def _is_meant(self, opener: _Token, closer: _Token, tex: str) -> bool:
        """Return whether two delimiters and the text between them are a formula."""
        if not tex.strip() or LINK.search(tex):
            return False
        after = self._text[closer.end : closer.end + 1]
        if opener.kind != "$":
            return not is_prose(tex, opener.kind) and not (opener.kind == "\\[" and after == "(")
        before = self._text[max(0, opener.start - 1) : opener.start]
        return not is_money(tex, before, after)


def is_money(tex: str, before: str, after: str) -> bool:
    """Return whether two dollar signs and the text between them are prices or shell variables.

    ``before`` and ``after`` are the characters that touch them: US$5, $5-$6, $HOME/$PATH.
    """
    if tex[0].isspace() or tex[-1].isspace() or after.isdigit() or after == "{":
        return True
    has_tex = bool(TEX_SYNTAX.search(tex))
    bare = COMMAND.sub(" ", tex)
    if _is_shell(tex, bare, before, after):
        return True
    if before.isascii() and before.isalnum() and (not has_tex or (tex[0].isdigit() and before.isalpha())):
        return True
    if not has_tex and not _is_balanced(tex):
        return True
    if tex[0].isdigit() and ("**" in tex or "|" in tex):
        return True
    if TWO_WORDS.search(bare) and (not has_tex or tex[0].isdigit()):
        return not set(WORD_OF_LETTERS.findall(bare)) <= FUNCTIONS
    return tex[0].isdigit() and not has_tex and not set(WORD_OF_LETTERS.findall(bare)) <= FUNCTIONS


def _is_shell(tex: str, bare: str, before: str, after: str) -> bool:
    """Return whether the dollar signs begin variables of a shell: "$@" "$1", $A$B, $(pwd)/$(ls)."""
    if '"' in bare or tex[0] in "@#" or bare[-1] in "^_":  # no formula has these there
        return True
    if tex[0] in "?!*" and not tex[-1].isalnum() and after and after in "@#?!*":
        return True
    if tex[0] == after == "(":
        return True
    if not (after.isascii() and after.isalpha()):
        return False
    # One capital is a variable only before another one: "the $N$th" has a formula.
    return _is_name(tex) or (len(tex) == 1 and tex.isupper() and after.isupper()) or before == tex[-1] == "'"


def is_prose(tex: str, opener: str) -> bool:
    """Return whether the text between two other delimiters is prose: an escaped bracket, a price class."""
    bare = COMMAND.sub(" ", tex)
    if opener == "\\(":
        return not SIGN.search(tex) and bool(TWO_WORDS.search(bare))
    if SIGN.search(tex):
        return "$" in bare or (not TEX_SYNTAX.search(tex) and not _is_balanced(tex))
    if TWO_WORDS.search(bare) or not _is_balanced(tex):
        return True
    if opener == "\\[":
        return not ONE_LETTER.fullmatch(tex) and not NOT_OF_WORDS.search(tex)
    return tex[0] == tex[-1] == " " and bool(WORD_OF_LETTERS.search(bare))


def _is_name(tex: str) -> bool:
    """Return whether a text before a letter is no formula: a path, a variable, an assignment."""
    return tex[-1] in "=+-/:,;.(&|*" or bool(VARIABLE.fullmatch(tex) and not INDEXED.fullmatch(tex))


def _is_balanced(tex: str) -> bool:
    """Return whether no bracket closes before one has opened. ``]0,1[`` is an interval."""
    if tex.startswith("]") and tex.endswith("["):
        return True
    depth = 0
    for letter in tex:
        depth += (letter in "([{") - (letter in ")]}")
        if depth < 0:
            return False
    return True
