"""Renderer of a growing text: each block is rendered once, as soon as no later text can change it."""

import re

from chat.rendering.blocks import Block, definitions_in, outline, to_blocks
from chat.rendering.completion import complete, without_half_fence, without_half_table, without_waiting
from chat.rendering.preprocess import line_ends, prepare, with_text

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
CLOSING_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})\s*")
ENDED_BY_A_BLANK_LINE = {"Paragraph", "Table", "BlockQuote"}  # a list may go on, and become loose


class MarkdownStream:
    """Markdown that arrives in pieces: ``feed`` text, ``close`` its final blocks, read ``open_html``.

    Only whole lines count. A block is closed when the next one has begun, or when no text can change it.
    ``finish`` renders the whole text as ``render`` does. It differs from the closed blocks where a later line
    defines a link or a footnote of an earlier one.
    """

    def __init__(self) -> None:
        self.closed: list[str] = []
        self._tail = ""  # the text that is not closed
        self._pieces: list[str] = []  # the whole text
        self._half_line_end = ""
        self._unsure = ""  # the whole lines that closed no block when last read
        self._definitions: dict[str, tuple[str, str]] = {}

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def tail(self) -> str:
        """The text that is not closed."""
        return self._tail

    def feed(self, delta: str) -> None:
        self._pieces.append(delta)
        delta = self._half_line_end + delta
        self._half_line_end = "\r" if delta.endswith("\r") else ""
        self._tail += line_ends(delta.removesuffix("\r"))

    def close(self) -> None:
        """Render the blocks that have become final, and add them to ``closed``."""
        tail = self._tail[: self._tail.rfind("\n") + 1]  # an unfinished line may become any block
        if tail == self._unsure:
            return
        self._unsure = tail
        prepared = prepare(tail, self._definitions, final=False)
        if prepared.waiting is not None:  # not yet known to be a formula
            sure = "".join(line + "\n" for line in prepared.text.split("\n")[: prepared.waiting])
            prepared = with_text(prepared, sure, self._definitions)
        found = outline(prepared)
        lines = prepared.text.split("\n")
        if found and not _is_sure(found[-1], lines):
            found.pop()
        if not found:
            return
        self._unsure = ""
        end = found[-1].end
        for label, definition in definitions_in("\n".join(lines[:end])).items():
            self._definitions.setdefault(label, definition)
        self.closed += [block.html for block in to_blocks(prepared, count=len(found))]
        self._tail = self._tail[sum(len(line) + 1 for line in tail.split("\n")[:end]) :]

    def open_html(self) -> str:
        """Return the HTML of the text that is not closed, completed for display."""
        prepared = prepare(self._tail, self._definitions, final=False)
        if prepared.in_fence:
            source = without_half_fence(prepared.text)
        else:
            source = prepared.text
            if prepared.waiting is not None:
                source = without_waiting(source, prepared.waiting)
            source = without_half_table(complete(source))
        completed = with_text(prepared, source, self._definitions)
        return "".join(block.html for block in to_blocks(completed, unfinished=True))

    def finish(self) -> list[str]:
        """Return all blocks of the whole text, as ``render`` does."""
        self.closed = [block.html for block in to_blocks(prepare(self.text))]
        self._tail = ""
        return self.closed


def _is_sure(block: Block, lines: list[str]) -> bool:
    """Return whether the last block of whole lines is final. The last of ``lines`` is empty."""
    if block.kind in ("Heading", "Rule"):
        return True
    if block.kind in ENDED_BY_A_BLANK_LINE:
        return len(lines) > 2 and not lines[-2].strip()
    if block.fenced and block.end - block.start > 1:
        last = lines[block.end - 1]
        opening = FENCE.match(lines[block.start])
        return bool(opening and CLOSING_FENCE.fullmatch(last) and last.strip().startswith(opening[1]))
    return False
