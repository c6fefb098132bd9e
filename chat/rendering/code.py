"""Syntax highlighting, by lexers whose every step is short."""

import io
import re
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from html import escape
from typing import Any

from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer, RegexLexer
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

# The first alias of each lexer that tests/rendering/test_code.py fuzzes. Another language is shown without
# colours: a lexer that delegates (html+ng2) gives no token until all is read, and took 6 s for 8 KB of "(".
FUZZED_LANGUAGES = frozenset(
    (
        "ada awk basemake bash batch c clojure cmake common-lisp cpp cr csharp css d dart delphi diff "
        "docker elixir elm erlang fortran fsharp gas gdscript glsl go graphql groovy haskell html "
        "http ini java javascript json jsx julia kotlin less lua markdown nasm nginx "
        "nimrod nixos objective-c ocaml perl php postgresql powershell prolog properties protobuf "
        "python ruby rust scala scheme scss solidity splus sql swift tcl terraform tex toml "
        "tsx typescript vb.net vim xml yaml zig"
    ).split()
)
INSTEAD = {"make": "basemake"}  # "make" splits into lines and calls basemake, all in one step
MAX_HIGHLIGHTED = 20_000  # characters a block; pygments costs 1 to 3 ms a KB
# A rule sees this many characters, so that no match takes long: 20 KB of "\n" took the C lexer 8 s. A comment
# or a string of one rule that is longer loses its colour.
WINDOW = 2_000
# CPU a block, and a message. Looked at between tokens, each of which takes 6 ms at most.
BLOCK_SECONDS = 0.1
MESSAGE_SECONDS = 0.2
# A reply is rendered as it streams and again when it is stored: its code is highlighted once. At most
# 20 KB a block, some 200 KB as HTML: 25 MB.
REMEMBERED = 128

FORMATTER = HtmlFormatter(nowrap=True, classprefix="t-")


class Colours:
    """Highlighter of one message's code, within the message's time for it."""

    def __init__(self) -> None:
        self._seconds = MESSAGE_SECONDS

    def of(self, source: str, language: str) -> str:
        """Return a block's HTML: its tokens in spans, or plain where its colours are unknown or too slow."""
        if not language or len(source) > MAX_HIGHLIGHTED or self._seconds <= 0:
            return escape(source, quote=False)
        began = time.thread_time()
        html = _highlighted(source, language)
        self._seconds -= time.thread_time() - began
        return html


class _TooSlow(Exception):
    """The block's time is used up."""


@lru_cache(REMEMBERED)
def _highlighted(source: str, language: str) -> str:
    lexer = lexer_of(language)
    if lexer is None:
        return escape(source, quote=False)
    out = io.StringIO()
    try:
        FORMATTER.format(_tokens(source, lexer, time.thread_time() + BLOCK_SECONDS), out)
    except _TooSlow:
        return escape(source, quote=False)
    return out.getvalue()


def lexer_of(language: str) -> Lexer | None:
    """Return the lexer of a language; None if it is unknown or not fuzzed."""
    try:
        lexer: Any = get_lexer_by_name(language, stripnl=False, ensurenl=False)
        if lexer.aliases[0] in INSTEAD:
            lexer = get_lexer_by_name(INSTEAD[lexer.aliases[0]], stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
    name = lexer.aliases[0]
    if name not in FUZZED_LANGUAGES:
        return None
    if isinstance(lexer, RegexLexer):
        vars(lexer)["_tokens"] = _bounded_rules(name)
    found: Lexer = lexer
    return found


@lru_cache(len(FUZZED_LANGUAGES))
def _bounded_rules(name: str) -> dict[str, list[tuple[Any, Any, Any]]]:
    """Return the rules of a lexer, with expressions that see at most ``WINDOW`` characters."""
    lexer: Any = get_lexer_by_name(name)
    return {
        state: [(partial(_match, match), action, new_state) for match, action, new_state in rules]
        for state, rules in lexer._tokens.items()
    }


def _match(
    match: Callable[[str, int, int], re.Match[str] | None], text: str, at: int, end: int | None = None
) -> re.Match[str] | None:
    return match(text, at, min(at + WINDOW, len(text) if end is None else end))


def _tokens(source: str, lexer: Lexer, deadline: float) -> Iterator[Any]:
    for token in lexer.get_tokens(source):
        if time.thread_time() > deadline:
            raise _TooSlow
        yield token
