"""Where a reply goes: the screen, a pipe, files; several at once."""

import unicodedata
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol

from django.utils import timezone
from django.utils.translation import gettext as _

from chat.terminal.text import printable

TAB = 8


class Output(Protocol):
    """One turn is ``begin``, any number of ``text`` and ``again``, then ``end``. Each is written at
    once. All raise OSError.
    """

    def begin(self, question: str, agent: str) -> None: ...
    def text(self, delta: str) -> None: ...
    def again(self) -> None:
        """What was written of the reply counts no more; another beginning follows."""

    def end(self, note: str = "") -> None:
        """``note`` says where the reply is not whole."""


class Stream:
    """A text file that is flushed with each write, and the column at which it stands."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.column = 0

    def write(self, text: str) -> None:
        """Write ``text`` with its control characters as signs."""
        shown = printable(text)
        self.file.write(shown)
        self.file.flush()
        for character in shown:
            self.column = _column_after(self.column, character)

    def fresh_line(self) -> None:
        if self.column:
            self.write("\n")


def _column_after(column: int, character: str) -> int:
    if character == "\n":
        return 0
    if character == "\t":
        return column + TAB - column % TAB
    if unicodedata.combining(character) or unicodedata.category(character) in {"Cf", "Me", "Mn"}:
        return column
    return column + (2 if unicodedata.east_asian_width(character) in "WF" else 1)


class Pipe:
    """Stdout that is not a terminal: replies and nothing else, an empty line between two."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._replies = 0

    def begin(self, question: str, agent: str) -> None:
        if self._replies:
            self.stream.write("\n")
        self._replies += 1

    def text(self, delta: str) -> None:
        self.stream.write(delta)

    def again(self) -> None:
        self.stream.fresh_line()
        self.stream.write(f"[{_('begun again')}]\n")

    def end(self, note: str = "") -> None:
        self.stream.fresh_line()  # the note is on stderr, with the reason


class Screen(Pipe):
    """Stdout on a terminal. The question is shown where nobody has typed it there."""

    def __init__(self, stream: Stream, *, asker: str, shows_questions: bool) -> None:
        super().__init__(stream)
        self.asker = asker
        self.shows_questions = shows_questions
        self._label = ""

    def begin(self, question: str, agent: str) -> None:
        if self.shows_questions:
            super().begin(question, agent)
        self._label = f"[{_now():%H:%M:%S}] {agent}: "
        if self.shows_questions:
            self.stream.write(f"[{_now():%H:%M:%S}] {self.asker}: {question}\n")

    def text(self, delta: str) -> None:
        if self._label:  # with the first text: thoughts and tools come before it, on lines of their own
            self.stream.fresh_line()
            label, self._label = self._label, ""
            self.stream.write(label)
        super().text(delta)


class File:
    """A file that conversations are added to: who said what and when."""

    def __init__(self, path: Path, *, asker: str) -> None:
        self.path = path
        self.stream = Stream(path.open("a", encoding="utf-8"))
        self.asker = asker

    def begin(self, question: str, agent: str) -> None:
        self.stream.write(f"[{_now():%Y-%m-%d %H:%M:%S %Z}] {self.asker}: {question}\n")
        self.stream.write(f"[{_now():%Y-%m-%d %H:%M:%S %Z}] {agent}: ")

    def text(self, delta: str) -> None:
        self.stream.write(delta)

    def again(self) -> None:
        self.stream.fresh_line()
        self.stream.write(f"[{_('begun again')}] ")

    def end(self, note: str = "") -> None:
        self.stream.fresh_line()
        self.stream.write(f"[{note}]\n\n" if note else "\n")

    def close(self) -> None:
        try:
            self.stream.file.close()
        except OSError:
            pass  # each write was flushed, and the one that failed was told of


def _now() -> datetime:
    return timezone.localtime()
