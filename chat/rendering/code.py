"""Code in colours, as far as they are cheap."""

import io
import time
from collections.abc import Iterator
from functools import lru_cache
from html import escape
from typing import Any

from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MAX_HIGHLIGHTED = 20_000  # characters a block; pygments costs about 1 ms a KB
# CPU a block, and a message: 18 KB of "s{" took the Perl lexer 5.8 s. What is left then has no colours.
BLOCK_SECONDS = 0.1
MESSAGE_SECONDS = 0.2
# A reply is rendered as it streams and once more when it is stored: its colours are found once. At most
# 20 KB a block, some 200 KB as HTML: 25 MB.
REMEMBERED = 128

FORMATTER = HtmlFormatter(nowrap=True, classprefix="t-")


class Colours:
    """The colours of one message's code, as long as its time for them lasts."""

    def __init__(self) -> None:
        self._seconds = MESSAGE_SECONDS

    def of(self, source: str, language: str) -> str:
        """The HTML of a block's code: tokens in spans, or plain where that is not known or too dear."""
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
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
        out = io.StringIO()
        FORMATTER.format(_tokens(source, lexer, time.thread_time() + BLOCK_SECONDS), out)
    except (ClassNotFound, _TooSlow):
        return escape(source, quote=False)
    return out.getvalue()


def _tokens(source: str, lexer: Lexer, deadline: float) -> Iterator[Any]:
    for token in lexer.get_tokens(source):
        if time.thread_time() > deadline:
            raise _TooSlow
        yield token
