"""Writer of pyromark's events as HTML that is safe even before it is sanitized."""

from functools import cache
from html import escape
from typing import Any

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext

from chat.rendering import links, placeholders
from chat.rendering.code import Colours
from chat.rendering.formula_finder import Formula
from chat.rendering.inline import InlineWriter
from chat.rendering.layout import INLINE_TAGS
from chat.rendering.mathml import to_mathml

# Levels of quotes and lists. nh3's time grows with the square: 20,000 lists took it 3.5 s.
MAX_BLOCK_NESTING = 16

# Tag to its start, before the direction and ">", and its end.
BLOCK_ELEMENTS = {
    "Paragraph": ("<p", "</p>"),
    "HtmlBlock": ("<p", "</p>"),
    "Item": ("<li", "</li>"),
    "BlockQuote": ("<blockquote", "</blockquote>"),
    "Table": ('<div class="table" role="region" tabindex="0"', "</tbody></table></div>"),
    "TableHead": ("<thead><tr", "</tr></thead><tbody>"),
    "TableRow": ("<tr", "</tr>"),
    "FootnoteDefinition": ('<section class="footnote"', "</section>"),
}
LEVEL_CLASSES = {"H5": ' class="level-5"', "H6": ' class="level-6"'}  # HTML has no h7 and h8
NESTING = {"BlockQuote", "List", "Item"}
DISPLAYED = ('<math display="block"', '<code class="tex"')  # see preprocess.MATH_LINE
AUTO_DIRECTION = ' dir="auto"'  # the first letter of a top-level block decides


@cache
def _labels() -> dict[str, str]:
    """Return the labels of screen readers and the words of alerts, in the site's language."""
    # Not the reader's language: HTML is stored once for all its readers.
    with translation.override(settings.LANGUAGE_CODE):
        return {
            "table": escape(gettext("Table")),
            "done": escape(gettext("done")),
            "to do": escape(gettext("to do")),
            "Note": escape(gettext("Note")),
            "Tip": escape(gettext("Tip")),
            "Important": escape(gettext("Important")),
            "Warning": escape(gettext("Warning")),
            "Caution": escape(gettext("Caution")),
        }


class BlockWriter:
    """Writer of a text's events, in one pass; ``out`` holds the HTML so far of the current block.

    Not ``final``: footnotes may be defined later. ``unfinished``: the blocks themselves may go on, so code
    has no colours and no copy button yet.
    """

    def __init__(self, formulas: list[Formula], *, final: bool, unfinished: bool) -> None:
        self.out: list[str] = []
        self._formulas = formulas
        self._inline = InlineWriter(self.out, formulas, final=final)
        self._unfinished = unfinished
        self._colours = Colours()
        self._code: tuple[str, list[str]] | None = None
        self._alignments: list[str] = []
        self._column = 0
        self._cell = "td"
        self._depth = 0  # of quotes and lists
        self._direction = AUTO_DIRECTION  # of the next element: a top-level block has one
        self._heading_at = 0  # in ``out``

    def block(self) -> str:
        """Return the HTML of the current block, and begin the next one."""
        html = "".join(self.out)
        self.out.clear()
        self._direction = AUTO_DIRECTION
        return html

    def start(self, tag: str, arg: Any) -> None:
        if tag in INLINE_TAGS:
            self._inline.start(tag, arg)
            return
        self._inline.end_of_block()
        if tag in NESTING:
            self._depth += tag != "Item"
            if self._depth > MAX_BLOCK_NESTING:
                self._inline.break_line()
                return
        direction, self._direction = self._direction, ""
        self._start_block(tag, arg, direction)

    def _start_block(self, tag: str, arg: Any, direction: str) -> None:
        start, after = BLOCK_ELEMENTS.get(tag, ("", ""))[0], ""
        match tag:
            case "Heading":
                self._inline.is_one_line = True
                self._heading_at = len(self.out)
                start = f"<{_heading(arg['level'])}{LEVEL_CLASSES.get(arg['level'], '')}"
            case "List":
                start = "<ul" if arg is None else f'<ol start="{arg}"'
            case "BlockQuote" if arg:
                start += f' class="note-{arg.lower()}"'
                after = f'<p class="alert">{_labels()[arg]}</p>'
            case "CodeBlock":
                self._code = (arg["Fenced"] if isinstance(arg, dict) else "", [])
            case "Table":
                self._alignments = arg
                start += f' aria-label="{_labels()["table"]}"'
                after = "<table>"
            case "TableHead" | "TableRow":
                self._column, self._cell = 0, "th" if tag == "TableHead" else "td"
            case "TableCell":
                self._start_cell()
            case "FootnoteDefinition":
                label = self._inline.as_written(arg)
                after = (
                    f"<sup>{links.opening(links.to_reference(label))}{escape(label, quote=False)}</a></sup>"
                )
        if start:
            self.out.append(f"{start}{direction}>{after}")

    def end(self, tag: str, arg: Any) -> None:
        if tag in INLINE_TAGS:
            self._inline.end(tag)
            return
        self._inline.end_of_block()
        if tag in NESTING:
            self._depth -= tag != "Item"
            if self._depth + (tag != "Item") > MAX_BLOCK_NESTING:
                return
        match tag:
            case "Heading":
                self._end_heading(arg)
            case "List":
                self.out.append("</ol>" if arg else "</ul>")
            case "CodeBlock":
                self._end_code()
            case "TableCell":
                self._inline.is_one_line = False
                self.out.append(f"</{self._cell}>")
            case _ if tag in BLOCK_ELEMENTS:
                self.out.append(BLOCK_ELEMENTS[tag][1])

    def leaf(self, kind: str, value: Any) -> None:
        if kind == "Text" and self._code is not None:
            self._code[1].append(value)
        elif kind == "Rule":
            self.out.append("<hr>")
        elif kind == "TaskListMarker":
            label, box = (_labels()["done"], "☑") if value else (_labels()["to do"], "☐")
            self.out.append(f'<span class="task" role="img" aria-label="{label}">{box}</span> ')
        elif kind == "Html":
            self._inline.lines_of_html(value)
        else:
            self._inline.leaf(kind, value)

    def _end_heading(self, level: str) -> None:
        self._inline.is_one_line = False
        shown = self.out[self._heading_at + 1 :]
        if level == "H6" and len(shown) == 1 and shown[0].startswith(DISPLAYED):
            self.out[self._heading_at :] = [f'<div class="math" dir="ltr">{shown[0]}</div>']
        else:
            self.out.append(f"</{_heading(level)}>")

    def _start_cell(self) -> None:
        self._inline.is_one_line = True
        alignment = self._alignments[self._column] if self._column < len(self._alignments) else "None"
        self._column += 1
        self.out.append(
            f"<{self._cell}>" if alignment == "None" else f'<{self._cell} class="ta-{alignment.lower()}">'
        )

    def _end_code(self) -> None:
        assert self._code is not None
        (info, pieces), self._code = self._code, None
        words = info.split()
        language = self._inline.as_written(words[0]).lower() if words else ""
        source = self._inline.as_written("".join(pieces))
        if language == "math":
            self._end_formula(info, source)
            return
        button = "" if self._unfinished else '<button type="button" class="copy" hidden></button>'
        shown = escape(source, quote=False) if self._unfinished else self._colours.of(source, language)
        named = "" if language in ("", "text", "txt", "plaintext") else escape(language)
        self.out.append(
            f'<figure class="code"><figcaption><span class="language">{named}</span>'
            f'{button}</figcaption><pre tabindex="0" dir="ltr"><code>{shown}</code></pre></figure>'
        )

    def _end_formula(self, info: str, source: str) -> None:
        """End a code block that is a formula: ``source``, or the one whose placeholder ``info`` has."""
        is_open = self._unfinished
        if found := placeholders.FORMULA_MARK.search(info):
            marked = self._formulas[int(found[1])]
            source, is_open = marked.tex, marked.is_open
        shown = f"<pre>{escape(source, quote=False)}</pre>" if is_open else to_mathml(source, display=True)
        self.out.append(f'<div class="math" dir="ltr">{shown}</div>')


def _heading(level: str) -> str:
    """Return the element of a heading of a message."""
    # h1 is the page's, h2 the speaker's: a message begins at h3.
    return f"h{min(int(level[1]) + 2, 6)}"
