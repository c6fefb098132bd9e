"""What stands beside the reply, on stderr: thoughts, tools, sentences, and a sign that it goes on."""

import json
import os
import time
from typing import Any

from django.utils.translation import gettext as _

from chat import endings, events
from chat.events import Event
from chat.terminal.outputs import Stream
from chat.terminal.text import on_one_line, printable

DIM, PLAIN = "\x1b[2m", "\x1b[0m"
SHOWN = 200  # characters of a tool's arguments or result
QUIET_SECONDS = 0.3  # of silence before the sign is drawn: a reply that flows needs none
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
ASCII_FRAMES = "|/-\\"


class Margin:
    """Stderr. Asides and the sign are for a terminal alone, sentences about what failed for all.

    ``beside`` is the screen that the reply is written to, where that is a terminal: both share the
    cursor, so an aside begins a line of its own.
    """

    def __init__(self, stream: Stream, beside: Stream | None, *, colour: bool) -> None:
        self.is_terminal = stream.file.isatty()
        self._stream = stream
        self._beside = beside if self.is_terminal else None
        self._dim = (DIM, PLAIN) if colour and self.is_terminal else ("", "")
        self._utf8 = (getattr(stream.file, "encoding", None) or "").lower().replace("-", "") == "utf8"
        self._thinking = False
        self._drawn = ""
        self._since = time.monotonic()

    # --- lines --------------------------------------------------------------------------------

    def event(self, event: Event) -> None:
        """Show what a run's event tells beside the reply's text."""
        data = event.data
        match event.type:
            case events.THOUGHT:
                self._think(data["text"])
            case events.TOOL_CALLED:
                self.aside(f"→ {data['name']} {_short(data['args'])}")
            case events.TOOL_RETURNED:
                said = data["error"] if "error" in data else _short(data["result"])
                self.aside(f"← {data['name']} {on_one_line(said, SHOWN)} ({data['elapsed_ms']} ms)")
            case events.FILE:
                self.aside(_file(data))
            case events.AGENT:
                self.aside(f"{data['name']}:")

    def aside(self, sentence: str) -> None:
        """A dim line, for a terminal alone."""
        if self.is_terminal:
            self._line(on_one_line(sentence, 2 * SHOWN), *self._dim)

    def say(self, sentence: str) -> None:
        """A line for everybody: why something failed."""
        self._line(printable(sentence), "", "")

    def _think(self, text: str) -> None:
        if not self.is_terminal:
            return
        if not self._thinking:
            self._fresh_line()
            self._thinking = True
        self.clear()
        self._raw(self._dim[0])
        self._stream.write(text)
        self._raw(self._dim[1])

    def _line(self, sentence: str, before: str, after: str) -> None:
        self._fresh_line()
        self._raw(f"{before}{sentence}{after}\n")

    def _fresh_line(self) -> None:
        self.clear()
        if self._beside is not None:
            self._beside.fresh_line()
        self.end_thought()

    def end_thought(self) -> None:
        """The reply goes on: what stands here ends its line first."""
        self.clear()
        self._thinking = False
        self._stream.fresh_line()

    def _raw(self, text: str) -> None:
        self._stream.file.write(text)
        self._stream.file.flush()

    # --- the sign that something goes on --------------------------------------------------------

    def begin_waiting(self) -> None:
        self._since = time.monotonic()

    def tick(self) -> None:
        """Draw the sign, where it has been quiet for a while. Called about ten times a second."""
        quiet = time.monotonic() - self._since
        if not self.is_terminal or quiet < QUIET_SECONDS or not self._has_room():
            return
        frames = FRAMES if self._utf8 else ASCII_FRAMES
        self.clear()
        sign = frames[int(quiet * 10) % len(frames)]
        if self._column() == 0:  # nothing is on this line: room for how long it has been
            sign += f" {int(quiet)} s"
        self._drawn = sign
        # Back by as many as were drawn: no saved cursor, which a screen that scrolls would misplace.
        self._raw(sign + "\b" * len(sign))

    def clear(self) -> None:
        """Take the sign away: something is about to be written."""
        if self._drawn:
            blank, self._drawn = len(self._drawn), ""
            self._raw(" " * blank + "\b" * blank)

    def _column(self) -> int:
        return max(self._stream.column, self._beside.column if self._beside is not None else 0)

    def _has_room(self) -> bool:
        """At the edge of the screen a sign would break the line, and stepping back would not mend it."""
        try:
            width = os.get_terminal_size(self._stream.file.fileno()).columns
        except OSError:  # a terminal without a size
            return self._column() == 0
        return width > 10 and self._column() % width < width - 10


def _short(value: Any) -> str:
    return on_one_line(json.dumps(value, ensure_ascii=False), SHOWN)


def _file(data: dict[str, Any]) -> str:
    return _("+ {name}, version {version}, {note}").format(
        name=data["name"], version=data["version"], note=data["note"]
    )


def whole_or_not(kind: str, data: dict[str, Any]) -> str:
    """The sentence for a reply that is not whole, with a hint where asking again may help; else empty."""
    if kind == events.COMPLETED:
        finish = data.get("finish")
        if finish == endings.APPROVAL:
            return _(
                "A step waits for a person. It cannot be answered here yet: ask something else to go on."
            )
        return _("The answer reached its limit.") if finish in {"max_tokens", "length"} else ""
    hint = " " + _("Ask again if you like.") if data["retryable"] and kind != events.STOPPED else ""
    return f"{data['detail']}{hint}"
