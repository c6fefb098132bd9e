"""A text file that knows its cursor's column, and wraps lines between words if it is a terminal."""

import os
import unicodedata
from typing import IO

from chat.terminal.text import printable

TAB = 8  # columns
# Unicode's categories of punctuation that stays with the character before it, or with the one after it.
CLOSING = {"Pe", "Pf", "Po"}
OPENING = {"Ps", "Pi"}
FENCES = ("```", "~~~")
AS_WRITTEN = ("|", "    ", "\t")  # beginnings of lines of tables and code


class TextStream:
    """A text file that is flushed with each write.

    A word that does not fit on the line is erased and written on the next one: words are shown as they come.
    """

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.column = 0
        self._word = 0  # columns of the current word
        self._letters = ""  # of the current word
        self._space_due = False  # a line was broken at its last space
        self._line = ""  # the first characters of the logical line
        self._in_code = False

    def write(self, text: str) -> None:
        """Write ``text`` with visible control characters."""
        width = self._width()
        self.file.write("".join(self._placed(character, width) for character in printable(text)))
        self.file.flush()

    def end_line(self) -> None:
        if self.column:
            self.write("\n")

    def _width(self) -> int:
        """Return the columns of a line; 0 if the file is no terminal or its size is unknown."""
        try:
            return os.get_terminal_size(self.file.fileno()).columns if self.file.isatty() else 0
        except OSError:
            return 0

    def _placed(self, character: str, width: int) -> str:
        """Return what to write for the next character."""
        if character == "\n":
            if self._line.lstrip(" >").startswith(FENCES):
                self._in_code = not self._in_code
            self.column, self._word, self._letters, self._line, self._space_due = 0, 0, "", "", False
            return "\n"
        if len(self._line) < 8:
            self._line += character
        before = ""
        if self._space_due:
            before, self._space_due, self.column = "\n", False, 0
        if width and not self._in_code and not self._line.startswith(AS_WRITTEN + FENCES):
            return before + self._wrapped(character, width)
        self.column = _column_after(self.column, character)
        return before + character

    def _wrapped(self, character: str, width: int) -> str:
        last = width - 1  # after the last column, terminals disagree on what a backspace does
        after = _column_after(self.column, character)
        size = after - self.column
        if character in " \t":
            self._word, self._letters = 0, ""
            if self.column % width + size > last:
                self._space_due = True
                return ""
            self.column = after
            return character
        if _is_wide(character) and not self._is_bound(character):
            self._word, self._letters = 0, ""
        moved = ""
        fits_below = self._word + size <= last and self._word < self.column
        if self.column % width + size > last and fits_below:
            erased = self._word
            moved = "\b" * erased + " " * erased + "\n" + self._letters
            self.column = erased
        self._word += size
        self._letters += character
        self.column += size
        return moved + character

    def _is_bound(self, character: str) -> bool:
        """Return whether no line may end before a wide character."""
        before = self._letters[-1:]
        return unicodedata.category(character) in CLOSING or (
            bool(before) and unicodedata.category(before) in OPENING
        )


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _column_after(column: int, character: str) -> int:
    if character == "\t":
        return column + TAB - column % TAB
    if unicodedata.combining(character) or unicodedata.category(character) in {"Cf", "Me", "Mn"}:
        return column
    return column + (2 if _is_wide(character) else 1)
