"""pyromark's events to HTML that is safe by construction, before the second wall sees it."""

import re
from functools import cache
from html import escape
from typing import Any

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext

from chat.rendering import links
from chat.rendering.code import Colours
from chat.rendering.formulas import formula, is_money
from chat.rendering.source import IS_MATH

# Quotes and lists inside each other: nh3's time grows with the square, 20,000 lists took it 3.5 s.
MAX_NESTING = 16

BARE_TAG = re.compile(r"</?(?:br|sub|sup|kbd|mark)\s*/?>", re.IGNORECASE)
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
BY_ITS_WORDS = ' dir="auto"'  # a top-level block is written in the direction of its own first word


def named(value: Any) -> tuple[str, Any]:
    """An event, or what it carries: its name and its argument."""
    return (value, None) if isinstance(value, str) else next(iter(value.items()))


@cache
def _words() -> dict[str, str]:
    """What a screen reader is told, in the site's language: HTML is stored once for all its readers."""
    with translation.override(settings.LANGUAGE_CODE):
        return {
            "table": escape(gettext("Table")),
            "done": escape(gettext("done")),
            "to do": escape(gettext("to do")),
        }


class Writer:
    """One pass over a text's events; ``out`` is the HTML so far of the block that is being written.

    ``unfinished``: the text goes on, so code has no colours and no copy button yet.
    """

    def __init__(self, *, unfinished: bool = False) -> None:
        self.out: list[str] = []
        self._unfinished = unfinished
        self._colours = Colours()
        self._links: list[bool] = []  # one a link that is open: is it shown as a link?
        self._images: list[tuple[int, str]] = []  # where each open image began, and its address
        self._code: tuple[str, list[str]] | None = None
        self._alignments: list[str] = []
        self._column = 0
        self._cell = "td"
        self._depth = 0  # of quotes and lists
        self._direction = BY_ITS_WORDS  # of the next element: a top-level block has one

    def block(self) -> str:
        """The HTML of the block that ends here; the next one begins."""
        html = "".join(self.out)
        self.out = []
        self._direction = BY_ITS_WORDS
        return html

    def start(self, tag: str, arg: Any) -> None:
        out = self.out.append
        if tag in NESTING:
            self._depth += tag != "Item"
            if self._depth > MAX_NESTING:
                self._break_line()
                return
        direction, self._direction = self._direction, ""
        match tag:
            case "Heading":
                out(f"<{_heading(arg['level'])}{direction}>")
            case "List":
                out(f"<ul{direction}>" if arg is None else f'<ol start="{arg}"{direction}>')
            case "BlockQuote":
                kind = f' class="note-{arg.lower()}"' if arg else ""
                out(f"<blockquote{kind}{direction}>")
            case "CodeBlock":
                info = arg["Fenced"].split() if isinstance(arg, dict) else []
                self._code = (info[0].lower() if info else "", [])
            case "Link":
                self._start_link(arg)
            case "Image":
                self._images.append((len(self.out), arg["dest_url"]))
            case "Table":
                self._alignments = arg
                label = _words()["table"]
                out(f'<div class="table" role="region" tabindex="0" aria-label="{label}"{direction}><table>')
            case "TableHead" | "TableRow":
                self._column, self._cell = 0, "th" if tag == "TableHead" else "td"
                out("<thead><tr>" if tag == "TableHead" else "<tr>")
            case "TableCell":
                self._start_cell()
            case "FootnoteDefinition":
                out(f'<section class="footnote"{direction}><sup>{escape(arg, quote=False)}</sup>')
            case _ if tag in TAGS:
                out(f"<{TAGS[tag]}{direction}>")

    def end(self, tag: str, arg: Any) -> None:
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
            case "FootnoteDefinition":
                out("</section>")
            case _ if tag in TAGS:
                out(f"</{TAGS[tag]}>")

    def leaf(self, kind: str, value: Any, *, before: str, after: str) -> None:
        """A leaf, and the characters that touch it: "$5-$6" is two prices."""
        if kind == "Text" and self._code is not None:
            self._code[1].append(value)
        elif kind == "DisplayMath":
            self.out.append(formula(value, display=True))
        elif kind == "InlineMath":
            self.out.append(self._inline_formula(value, before, after))
        else:
            self.out.append(self._plain_leaf(kind, value))

    def _inline_formula(self, tex: str, before: str, after: str) -> str:
        if tex.startswith(IS_MATH):
            return formula(tex.removeprefix(IS_MATH), display=False)
        return self._text(f"${tex}$") if is_money(tex, before, after) else formula(tex, display=False)

    def _plain_leaf(self, kind: str, value: Any) -> str:
        match kind:
            case "Text":
                return self._text(value)
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
                label, box = (_words()["done"], "☑") if value else (_words()["to do"], "☐")
                return f'<span class="task" role="img" aria-label="{label}">{box}</span> '
            case "FootnoteReference":
                return f'<sup class="footnote-ref">{escape(value, quote=False)}</sup>'
        return ""

    def _text(self, text: str) -> str:
        return escape(text, quote=False) if self._links or self._images else links.with_links(text)

    def _break_line(self) -> None:
        if self.out[-1] != "<br>":
            self.out.append("<br>")

    def _start_link(self, arg: Any) -> None:
        url = ("mailto:" if arg["link_type"] == "Email" else "") + arg["dest_url"]
        self._links.append(links.is_safe(url))
        self.out.append(links.opening(url, arg["title"]) if self._links[-1] else "")

    def _end_image(self) -> None:
        """An image of another host tells it who reads: shown as a link."""
        at, url = self._images.pop()
        label = re.sub("<[^>]*>", "", "".join(self.out[at:])) or escape(url)
        del self.out[at:]
        linkable = links.is_safe(url) and not self._links and not self._images
        self.out.append(f"{links.opening(url)}{label}</a>" if linkable else label)

    def _start_cell(self) -> None:
        alignment = self._alignments[self._column] if self._column < len(self._alignments) else "None"
        self._column += 1
        self.out.append(
            f"<{self._cell}>" if alignment == "None" else f'<{self._cell} class="ta-{alignment.lower()}">'
        )

    def _end_code(self) -> None:
        assert self._code is not None
        (language, pieces), self._code = self._code, None
        source = "".join(pieces)
        if language == "math":
            shown = (
                f"<pre>{escape(source, quote=False)}</pre>"
                if self._unfinished
                else formula(source, display=True)
            )
            self.out.append(f'<div class="math" dir="ltr">{shown}</div>')
            return
        button = "" if self._unfinished else '<button type="button" class="copy" hidden></button>'
        shown = escape(source, quote=False) if self._unfinished else self._colours.of(source, language)
        self.out.append(
            f'<figure class="code"><figcaption><span class="language">{escape(language or "text")}</span>'
            f'{button}</figcaption><pre tabindex="0" dir="ltr"><code>{shown}</code></pre></figure>'
        )


def _heading(level: str) -> str:
    """``h1`` is the page's, ``h2`` the speaker's: a message begins at ``h3``."""
    return f"h{min(int(level[1]) + 2, 6)}"
