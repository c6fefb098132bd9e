"""Thoughts between ``<think>`` tags, which models other than Gemini write at the start of their text."""

import re
from dataclasses import dataclass

from chat.agent.turn.parts import TEXT_PIECE, THOUGHT_PIECE, Piece

THINK_TAGS = ("<think>", "<thinking>")
OPENER = re.compile(r"\s*<(think|thinking)>\s*")


@dataclass(slots=True)
class ThinkTags:
    """Splitter of one model call's text, which may arrive in pieces that cut a tag.

    Only tags at the start of the text count. ``is_thinking``: the closing tag has not come yet.
    """

    is_thinking: bool = False
    _held: str = ""  # what may be the beginning of a tag
    _closer: str = ""
    _decided: bool = False  # the rest is text

    def feed(self, text: str) -> list[Piece]:
        """Return the pieces of the text so far that were not returned before."""
        if self._decided:
            return [Piece(TEXT_PIECE, text)] if text else []
        self._held += text
        if self.is_thinking:
            return self._think()
        if self._closer:
            return self._begin_text()
        found = OPENER.match(self._held)
        if found and found.end() < len(self._held):
            self.is_thinking, self._closer = True, f"</{found[1]}>"
            self._held = self._held[found.end() :]
            return self._think()
        if found or any(opener.startswith(self._held.lstrip()) for opener in THINK_TAGS):
            return []
        return self.finish()

    def finish(self) -> list[Piece]:
        """Return what is left, when no more text of this call comes."""
        kind = THOUGHT_PIECE if self.is_thinking else TEXT_PIECE
        left = "" if (self._closer and not self.is_thinking) or OPENER.fullmatch(self._held) else self._held
        self._held, self.is_thinking, self._decided = "", False, True
        return [Piece(kind, left)] if left else []

    def _think(self) -> list[Piece]:
        thought, closer, rest = self._held.partition(self._closer)
        if closer:
            self.is_thinking, self._held = False, rest
            return [*([Piece(THOUGHT_PIECE, thought)] if thought.strip() else []), *self._begin_text()]
        kept = next(n for n in range(len(self._closer) - 1, -1, -1) if thought.endswith(self._closer[:n]))
        self._held = thought[len(thought) - kept :]
        thought = thought[: len(thought) - kept]
        return [Piece(THOUGHT_PIECE, thought)] if thought else []

    def _begin_text(self) -> list[Piece]:
        """Return the text after a thought, without the blank lines before it."""
        text = self._held.lstrip()
        if not text:
            return []
        self._held, self._decided = "", True
        return [Piece(TEXT_PIECE, text)]
