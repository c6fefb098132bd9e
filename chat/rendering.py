"""Markdown to safe HTML: pyromark's events, our renderer, nh3 as the second wall.

Safe by construction: raw HTML is shown as text, links go through an allow-list, images become
links, and no style or id is ever written. nh3 cleans the result once more.
"""

import io
import re
import time
from collections.abc import Iterator
from html import escape
from typing import Any

import nh3
import pyromark
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

RENDERER_VERSION = 1

MAX_HIGHLIGHTED = 20_000  # characters a block; pygments costs about 1 ms a KB
# CPU a message: 18 KB of "s{" took the Perl lexer 5.8 s. What is left then is shown without colours.
HIGHLIGHT_SECONDS = 0.5
# Quotes and lists inside each other: nh3's time grows with the square, 20,000 lists took it 3.5 s.
MAX_NESTING = 16

_Options = pyromark.Options
OPTIONS = (
    _Options.ENABLE_TABLES | _Options.ENABLE_STRIKETHROUGH | _Options.ENABLE_TASKLISTS | _Options.ENABLE_GFM
)
FORMATTER = HtmlFormatter(nowrap=True, classprefix="t-")
BARE_TAG = re.compile(r"</?(?:br|sub|sup|kbd|mark)\s*/?>", re.IGNORECASE)
# No control characters: a browser reads "/<tab>/host" as "//host".
SAFE_URL = re.compile(r"(?:https?://|mailto:|#|/(?![/\\]))[^\x00-\x1f\x7f]*\Z", re.IGNORECASE)
BARE_URL = re.compile(r"\bhttps?://[^\s<>\"'`]*[^\s<>\"'`.,;:!?)\]}*_~|]")

CLEANER = nh3.Cleaner(
    tags=set(
        "p h3 h4 h5 h6 ul ol li blockquote hr pre code span a em strong del sub sup kbd mark br "
        "table thead tbody tr th td div figure figcaption".split()
    ),
    attributes={
        "*": {"class"},
        "a": {"href", "title", "target"},
        "ol": {"start"},
        "div": {"role", "tabindex", "aria-label"},
        "pre": {"tabindex"},
        "span": {"role", "aria-label"},
    },
    url_schemes={"http", "https", "mailto"},
    link_rel="nofollow noopener noreferrer ugc",
)

TAGS = {
    "Paragraph": "p",
    "HtmlBlock": "p",
    "Item": "li",
    "Emphasis": "em",
    "Strong": "strong",
    "Strikethrough": "del",
    "Superscript": "sup",
    "Subscript": "sub",
    "TableRow": "tr",
}
NESTING = {"BlockQuote", "List", "Item"}


def render(text: str) -> str:
    """The HTML of a Markdown text, safe to put into any page."""
    source = text.replace("\r\n", "\n")
    renderer = _Renderer()
    for event in pyromark.events(source, options=OPTIONS, merge_text=True):
        renderer.take(event)
    return CLEANER.clean("".join(renderer.out))


class _TooSlow(Exception):
    """The time for colours is used up."""


def _highlighted(source: str, lexer: Lexer, seconds: float) -> str:
    """The code with its tokens in spans. Raises _TooSlow after ``seconds`` of this thread's CPU."""

    def tokens() -> Iterator[Any]:
        for token in lexer.get_tokens(source):
            if time.thread_time() > deadline:
                raise _TooSlow
            yield token

    deadline = time.thread_time() + seconds
    out = io.StringIO()
    FORMATTER.format(tokens(), out)
    return out.getvalue()


def _link(url: str, title: str = "") -> str:
    shown = f' title="{escape(title)}"' if title else ""
    return f'<a href="{escape(url)}"{shown} target="_blank">'


def _with_links(text: str) -> str:
    pieces, at = [], 0
    for found in BARE_URL.finditer(text):
        pieces += [escape(text[at : found.start()], quote=False), _link(found[0]), escape(found[0]), "</a>"]
        at = found.end()
    return "".join(pieces) + escape(text[at:], quote=False)


def _named(value: Any) -> tuple[str, Any]:
    return (value, None) if isinstance(value, str) else next(iter(value.items()))


class _Renderer:
    """One pass over pyromark's events; ``out`` is the HTML so far."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self._links: list[bool] = []  # one a link that is open: is it shown as a link?
        self._images: list[tuple[int, str]] = []  # where each open image began, and its address
        self._code: tuple[str, list[str]] | None = None
        self._alignments: list[str] = []
        self._column = 0
        self._cell = "td"
        self._depth = 0  # of quotes and lists
        self._seconds = HIGHLIGHT_SECONDS

    def take(self, event: Any) -> None:
        kind, value = _named(event)
        if kind == "Start":
            self._start(*_named(value))
        elif kind == "End":
            self._end(*_named(value))
        else:
            self.out.append(self._leaf(kind, value))

    def _start(self, tag: str, arg: Any) -> None:
        out = self.out.append
        if tag in NESTING:
            self._depth += tag != "Item"
            if self._depth > MAX_NESTING:
                self._break_line()
                return
        match tag:
            case "Heading":
                out(f"<{_heading(arg['level'])}>")
            case "List":
                out("<ul>" if arg is None else f'<ol start="{arg}">')
            case "BlockQuote":
                out("<blockquote>")
            case "CodeBlock":
                info = arg["Fenced"].split() if isinstance(arg, dict) else []
                self._code = (info[0].lower() if info else "", [])
            case "Link":
                self._start_link(arg)
            case "Image":
                self._images.append((len(self.out), arg["dest_url"]))
            case "Table":
                self._alignments = arg
                out('<div class="table" role="region" tabindex="0" aria-label="Table"><table>')
            case "TableHead" | "TableRow":
                self._column, self._cell = 0, "th" if tag == "TableHead" else "td"
                out("<thead><tr>" if tag == "TableHead" else "<tr>")
            case "TableCell":
                self._start_cell()
            case _ if tag in TAGS:
                out(f"<{TAGS[tag]}>")

    def _end(self, tag: str, arg: Any) -> None:
        out = self.out.append
        if tag in NESTING:
            self._depth -= tag != "Item"
            if self._depth + (tag != "Item") > MAX_NESTING:
                return
        match tag:
            case "Heading":
                out(f"</{_heading(arg)}>")
            case "List":
                out("</ol>" if arg else "</ul>")
            case "BlockQuote":
                out("</blockquote>")
            case "CodeBlock":
                self._end_code()
            case "Link":
                out("</a>" if self._links.pop() else "")
            case "Image":
                self._end_image()
            case "Table":
                out("</tbody></table></div>")
            case "TableHead":
                out("</tr></thead><tbody>")
            case "TableCell":
                out(f"</{self._cell}>")
            case _ if tag in TAGS:
                out(f"</{TAGS[tag]}>")

    def _break_line(self) -> None:
        if self.out[-1] != "<br>":
            self.out.append("<br>")

    def _leaf(self, kind: str, value: Any) -> str:
        match kind:
            case "Text" if self._code is not None:
                self._code[1].append(value)
                return ""
            case "Text":
                return escape(value, quote=False) if self._links or self._images else _with_links(value)
            case "Code":
                return f"<code>{escape(value, quote=False)}</code>"
            case "Html" | "InlineHtml":
                return value if BARE_TAG.fullmatch(value) else escape(value, quote=False)
            case "SoftBreak":
                return "\n"
            case "HardBreak":
                return "<br>"
            case "Rule":
                return "<hr>"
            case "TaskListMarker":
                label, box = ("done", "☑") if value else ("to do", "☐")
                return f'<span class="task" role="img" aria-label="{label}">{box}</span> '
        return ""

    def _start_link(self, arg: Any) -> None:
        url = ("mailto:" if arg["link_type"] == "Email" else "") + arg["dest_url"]
        safe = bool(SAFE_URL.match(url))
        self._links.append(safe)
        self.out.append(_link(url, arg["title"]) if safe else "")

    def _end_image(self) -> None:
        """An image of another host tells it who reads: shown as a link."""
        at, url = self._images.pop()
        label = re.sub("<[^>]*>", "", "".join(self.out[at:])) or escape(url)
        del self.out[at:]
        linkable = SAFE_URL.match(url) and not self._links and not self._images
        self.out.append(f"{_link(url)}{label}</a>" if linkable else label)

    def _start_cell(self) -> None:
        alignment = self._alignments[self._column] if self._column < len(self._alignments) else "None"
        self._column += 1
        self.out.append(
            f"<{self._cell}>" if alignment == "None" else f'<{self._cell} class="ta-{alignment.lower()}">'
        )

    def _end_code(self) -> None:
        assert self._code is not None
        (language, pieces), self._code = self._code, None
        self.out.append(
            f'<figure class="code"><figcaption>{escape(language or "text")}</figcaption>'
            f'<pre tabindex="0"><code>{self._coloured("".join(pieces), language)}</code></pre></figure>'
        )

    def _coloured(self, source: str, language: str) -> str:
        plain = escape(source, quote=False)
        if not language or len(source) > MAX_HIGHLIGHTED or self._seconds <= 0:
            return plain
        began = time.thread_time()
        try:
            lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
            return _highlighted(source, lexer, self._seconds)
        except (ClassNotFound, _TooSlow):
            return plain
        finally:
            self._seconds -= time.thread_time() - began


def _heading(level: str) -> str:
    """``h1`` is the page's, ``h2`` the speaker's: a message begins at ``h3``."""
    return f"h{min(int(level[1]) + 2, 6)}"
