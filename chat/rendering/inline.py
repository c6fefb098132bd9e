"""Writer of inline content: words, links, emphasis, formulas and a few bare tags."""

import re
from html import escape
from typing import Any

from chat.rendering import links, placeholders
from chat.rendering.formula_finder import Formula
from chat.rendering.mathml import to_mathml

# Levels of emphasis and tags. nh3 walks its open elements: 500 KB of <sub> took it 192 s.
MAX_INLINE_NESTING = 16

BREAK = re.compile(r"</?br\s*/?>", re.IGNORECASE)
BARE_TAG = re.compile(r"<(/?)(sub|sup|kbd|mark)\s*>", re.IGNORECASE)
# Not a set of letters such as [^a-z].
PROBABLE_REFERENCE = re.compile(r"\[\^(\d{1,3}|[A-Za-z]\w{0,20})\]")
INLINE_ELEMENTS = {"Emphasis": "em", "Strong": "strong", "Strikethrough": "del", "Link": "a"}


class InlineWriter:
    """Writer to ``out``. ``is_one_line``: in a heading or a cell, where a line end is a space.

    Not ``final``: a reference to a footnote is shown as one, because its definition may come at the end.
    """

    def __init__(self, out: list[str], formulas: list[Formula], *, final: bool) -> None:
        self.is_one_line = False
        self._final = final
        self._out = out
        self._formulas = formulas
        self._open: list[tuple[str, bool, bool]] = []  # tag, whether it is shown, whether it is a bare one
        self._links = 0  # open ones that are shown
        self._images: list[tuple[int, str]] = []  # where each open image began, and its address
        self._line_of_html = False  # has ended

    def start(self, tag: str, arg: Any) -> None:
        if tag == "Image":
            self._images.append((len(self._out), self.as_written(arg["dest_url"])))
            return
        shown = len(self._open) < MAX_INLINE_NESTING
        start = f"<{INLINE_ELEMENTS[tag]}>"
        if tag == "Link":
            url = ("mailto:" if arg["link_type"] == "Email" else "") + self.as_written(arg["dest_url"])
            shown = links.is_safe(url)
            self._links += shown
            start = links.opening(url, self.as_written(arg["title"]))
        self._open.append((INLINE_ELEMENTS[tag], shown, False))
        self._out.append(start if shown else "")

    def end(self, tag: str) -> None:
        if tag == "Image":
            self._end_image()
            return
        while self._open[-1][2]:
            self._close()
        self._links -= tag == "Link" and self._open[-1][1]
        self._close()

    def end_of_block(self) -> None:
        """Close the tags that the text left open."""
        while self._open:
            self._close()
        self._line_of_html = False

    def leaf(self, kind: str, value: Any) -> None:
        match kind:
            case "Text":
                self._text(value)
            case "Code":
                self._out.append(f"<code>{escape(self.as_written(value), quote=False)}</code>")
            case "InlineHtml":
                self._html(value)
            case "SoftBreak" if self.is_one_line or self._images:
                self._out.append(" ")
            case "SoftBreak" | "HardBreak":
                self.break_line()
            case "FootnoteReference":
                self._out.append(self._reference(self.as_written(value)))

    def lines_of_html(self, value: str) -> None:
        """Write lines of an HTML block as text."""
        if self._line_of_html:
            self.break_line()
        self._html(value.removesuffix("\n"))
        self._line_of_html = value.endswith("\n")

    def break_line(self) -> None:
        """Write a line break, unless the output ends with one."""
        if not self._out or self._out[-1] != "<br>":
            self._out.append("<br>")

    def as_written(self, value: str) -> str:
        """Return code, an address or a label as it was before preprocessing."""
        if value.isascii():
            return value
        return placeholders.FORMULA_MARK.sub(
            lambda found: self._formulas[int(found[1])].source, placeholders.without_letters(value)
        )

    def _text(self, value: str) -> None:
        if value.isascii():
            self._out.append(self._words(value))
            return
        if value.startswith(placeholders.FURTHER_LINE) and self._out[-1] in ("<br>", " "):
            self._out.pop()
        if self._images:
            self._out.append(escape(self.as_written(value), quote=False))
            return
        for n, piece in enumerate(placeholders.FORMULA_MARK.split(placeholders.without_letters(value))):
            if n % 2:
                found = self._formulas[int(piece)]
                self._out.append(to_mathml(found.tex, display=found.display))
            elif piece:
                self._out.append(self._words(piece))

    def _words(self, text: str) -> str:
        if self._links or self._images:
            return escape(text, quote=False)
        if self._final or "[^" not in text:
            return links.with_links(text)
        pieces = PROBABLE_REFERENCE.split(text)
        return "".join(
            self._reference(piece) if n % 2 else links.with_links(piece) for n, piece in enumerate(pieces)
        )

    def _reference(self, label: str) -> str:
        """Return a reference to a footnote."""
        shown = escape(label, quote=False)
        linked = shown if self._links else f"{links.opening(links.to_footnote(label))}{shown}</a>"
        return f'<sup class="footnote-ref">{linked}</sup>'

    def _html(self, value: str) -> None:
        value = self.as_written(value)
        found = BARE_TAG.fullmatch(value)
        if BREAK.fullmatch(value):
            self._out.append("<br>")
        elif not found:
            self._out.append(escape(value, quote=False).replace("\n", "<br>"))
        elif not found[1]:
            tag, shown = found[2].lower(), len(self._open) < MAX_INLINE_NESTING
            self._open.append((tag, shown, True))
            self._out.append(f"<{tag}>" if shown else "")
        elif self._open and self._open[-1][0] == found[2].lower():
            self._close()
        else:
            self._out.append(escape(value, quote=False))

    def _close(self) -> None:
        tag, shown, _bare = self._open.pop()
        self._out.append(f"</{tag}>" if shown else "")

    def _end_image(self) -> None:
        """Write an image as a link."""
        # Loading an image of another host would tell that host who reads the message.
        at, url = self._images.pop()
        if self._images and len(self._out) > at:
            return  # a part of the outer one's label
        label = re.sub("<[^>]*>", "", "".join(self._out[at:])) or escape(url)
        del self._out[at:]
        linkable = links.is_safe(url) and not self._links and not self._images
        self._out.append(f"{links.opening(url)}{label}</a>" if linkable else label)
