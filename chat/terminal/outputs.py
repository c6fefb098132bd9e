"""Destinations of replies: a screen or a pipe on stdout, and files."""

from datetime import datetime
from pathlib import Path
from typing import Protocol

from django.utils import timezone
from django.utils.translation import gettext as _

from chat.terminal.text_stream import TextStream


class Output(Protocol):
    """A destination of replies. For each turn: ``begin``, any number of ``text`` and ``restart``, ``end``.

    Each call writes immediately, and may raise OSError.
    """

    def begin(self, question: str, agent: str) -> None: ...
    def text(self, delta: str) -> None: ...
    def restart(self) -> None:
        """Mark the reply's text so far as replaced by the text that follows."""

    def withdraw(self) -> None:
        """Mark the reply's text so far as hidden by a moderator."""

    def end(self, note: str = "") -> None:
        """End the reply; ``note`` says why it is incomplete, if it is."""


class PipeOutput:
    """Stdout that is not a terminal: only replies, with an empty line between two."""

    def __init__(self, stream: TextStream) -> None:
        self.stream = stream
        self._replies = 0

    def begin(self, question: str, agent: str) -> None:
        if self._replies:
            self.stream.write("\n")
        self._replies += 1

    def text(self, delta: str) -> None:
        self.stream.write(delta)

    def restart(self) -> None:
        self.stream.end_line()
        self.stream.write("[" + _("started again") + "]\n")

    def withdraw(self) -> None:
        self.stream.end_line()
        self.stream.write("[" + _("hidden by a moderator") + "]\n")

    def end(self, note: str = "") -> None:
        self.stream.end_line()  # the note goes to stderr


class ScreenOutput(PipeOutput):
    """Stdout on a terminal. ``shows_questions`` is for questions that were not typed there."""

    def __init__(self, stream: TextStream, *, asker: str, shows_questions: bool) -> None:
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
        if self._label:  # not in begin(): lines of thoughts and tools may precede the first text
            self.stream.end_line()
            label, self._label = self._label, ""
            self.stream.write(label)
        super().text(delta)


class FileOutput:
    """A file to which the conversation is appended, with names and times."""

    def __init__(self, path: Path, *, asker: str) -> None:
        self.path = path
        self.stream = TextStream(path.open("a", encoding="utf-8"))
        self.asker = asker

    def begin(self, question: str, agent: str) -> None:
        self.stream.write(f"[{_now():%Y-%m-%d %H:%M:%S %Z}] {self.asker}: {question}\n")
        self.stream.write(f"[{_now():%Y-%m-%d %H:%M:%S %Z}] {agent}: ")

    def text(self, delta: str) -> None:
        self.stream.write(delta)

    def restart(self) -> None:
        self.stream.end_line()
        self.stream.write("[" + _("started again") + "] ")

    def withdraw(self) -> None:
        self.stream.end_line()
        self.stream.write("[" + _("hidden by a moderator") + "]\n")

    def end(self, note: str = "") -> None:
        self.stream.end_line()
        self.stream.write(f"[{note}]\n\n" if note else "\n")

    def close(self) -> None:
        try:
            self.stream.file.close()
        except OSError:
            pass  # each write was flushed, and a failed one was reported


def _now() -> datetime:
    return timezone.localtime()
