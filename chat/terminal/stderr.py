"""Everything but the reply, on stderr: thoughts, tool calls, messages, and a spinner during silence."""

import json
import os
import time
from typing import Any

from django.utils.translation import gettext as _

from chat import events
from chat.events import Event
from chat.terminal.text import on_one_line, printable
from chat.terminal.text_stream import TextStream

DIM, PLAIN = "\x1b[2m", "\x1b[0m"
VALUE_LENGTH = 200  # characters of a tool's arguments or result
SPINNER_DELAY_SECONDS = 0.3  # of silence: a reply that streams needs no spinner
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
ASCII_FRAMES = "|/-\\"


class Stderr:
    """Stderr. Notes and the spinner are written only to a terminal, messages always.

    ``screen`` is stdout if that is a terminal, too: both share the cursor, so each note and message begins a
    new line.
    """

    def __init__(self, stream: TextStream, screen: TextStream | None, *, colour: bool) -> None:
        self.is_terminal = stream.file.isatty()
        self._stream = stream
        self._screen = screen if self.is_terminal else None
        self._dim = (DIM, PLAIN) if colour and self.is_terminal else ("", "")
        self._utf8 = (getattr(stream.file, "encoding", None) or "").lower().replace("-", "") == "utf8"
        self._thinking = False
        self._spinner = ""  # as it is drawn
        self._silent_since = time.monotonic()

    # --- lines --------------------------------------------------------------------------------

    def show_event(self, event: Event) -> None:
        """Write a run's event that is not text of the reply."""
        data = event.data
        match event.type:
            case events.THOUGHT:
                self._think(data["text"])
            case events.TOOL_CALLED:
                self.note(f"→ {data['name']} {_short(data['args'])}{_whole(data.get('args_size'))}")
            case events.TOOL_RETURNED:
                result = data["error"] if "error" in data else _short(data["result"])
                self.note(
                    f"← {data['name']} {on_one_line(result, VALUE_LENGTH)}"
                    f"{_whole(data.get('size'))} ({data['elapsed_ms']} ms)"
                )
            case events.FILE:
                self.note(f"+ {_file(data)}")
            case events.SOURCES:
                for each in data["items"]:
                    self.note(f"[{each['n']}] {each['title']} {each['uri']}")
            case events.NODE_DONE:
                self.note(f"✓ {data['name']} {_short(data['output']) if 'output' in data else ''}")
            case events.AGENT_FAILED:
                self.note(f"! {data['name']}: {data['detail']}")
            case events.AGENT:
                self.note(f"{data['name']}:")

    def note(self, sentence: str) -> None:
        """Write a dim line if stderr is a terminal."""
        if self.is_terminal:
            self._line(on_one_line(sentence, 2 * VALUE_LENGTH), *self._dim)

    def message(self, sentence: str) -> None:
        """Write a line, such as the reason of a failure."""
        self._line(printable(sentence), "", "")

    def _think(self, text: str) -> None:
        if not self.is_terminal:
            return
        if not self._thinking:
            self._end_lines()
            self._thinking = True
        self.erase_spinner()
        self._raw(self._dim[0])
        self._stream.write(text)
        self._raw(self._dim[1])

    def _line(self, sentence: str, before: str, after: str) -> None:
        self._end_lines()
        self._raw(before)
        self._stream.write(sentence)
        self._raw(after)
        self._stream.write("\n")

    def _end_lines(self) -> None:
        self.erase_spinner()
        if self._screen is not None:
            self._screen.end_line()
        self.end_line()

    def end_line(self) -> None:
        """End the line of a thought, before the reply continues."""
        self.erase_spinner()
        self._thinking = False
        self._stream.end_line()

    def _raw(self, text: str) -> None:
        self._stream.file.write(text)
        self._stream.file.flush()

    # --- spinner ------------------------------------------------------------------------------

    def restart_silence(self) -> None:
        """Count the silence before the spinner from now."""
        self._silent_since = time.monotonic()

    def draw_spinner(self) -> None:
        """Draw the next frame, after SPINNER_DELAY_SECONDS of silence. Call it ten times a second."""
        silence = time.monotonic() - self._silent_since
        if not self.is_terminal or silence < SPINNER_DELAY_SECONDS or not self._has_room_for_spinner():
            return
        frames = FRAMES if self._utf8 else ASCII_FRAMES
        self.erase_spinner()
        self._spinner = frames[int(silence * 10) % len(frames)]
        if self._column() == 0:
            self._spinner += f" {int(silence)} s"
        # Backspaces, not a saved cursor: scrolling would misplace that.
        self._raw(self._spinner + "\b" * len(self._spinner))

    def erase_spinner(self) -> None:
        """Erase the spinner. Call it before anything else is written."""
        if self._spinner:
            length, self._spinner = len(self._spinner), ""
            self._raw(" " * length + "\b" * length)

    def _column(self) -> int:
        return max(self._stream.column, self._screen.column if self._screen is not None else 0)

    def _has_room_for_spinner(self) -> bool:
        # At the right edge the spinner would wrap, and backspaces do not return to the previous line.
        try:
            width = os.get_terminal_size(self._stream.file.fileno()).columns
        except OSError:  # a terminal without a size
            return self._column() == 0
        return width > 10 and self._column() % width < width - 10


def _short(value: Any) -> str:
    return on_one_line(json.dumps(value, ensure_ascii=False), VALUE_LENGTH)


def _file(data: dict[str, Any]) -> str:
    """Return the sentence for a file that the agent made; events before files were stored have a note."""
    if "note" in data:
        return _("%(name)s, version %(version)s, %(note)s") % data
    size = {"size": events.kilobytes(data["size"])}
    facts = [data["name"], data["mime"], _("%(size)s KB") % size]
    if data.get("version"):
        facts.append(_("version %(version)s") % {"version": data["version"]})
    return ", ".join(facts)


def _whole(size: int | None) -> str:
    """Return the size of a value that is cut in the log, else nothing."""
    return "" if size is None else " " + _("(%(size)s KB in all)") % {"size": events.kilobytes(size)}


def incomplete_note(kind: str, data: dict[str, Any]) -> str:
    """Return why a reply is incomplete, with a hint if asking again may help; empty if it is complete."""
    if kind == events.COMPLETED:
        is_cut = data.get("finish") in {"max_tokens", "length"}
        return _("The answer reached its limit.") if is_cut else ""
    hint = " " + _("Ask again if you like.") if data["retryable"] and kind != events.STOPPED else ""
    return f"{data['detail']}{hint}"


def waiting_note(requests: list[dict[str, Any]]) -> str:
    """Return the sentences for a reply that ended with these requests, data of ``waiting`` events."""
    tools: dict[str, list[str]] = {}
    for request in requests:
        tools.setdefault(request["approvers"] or "", []).append(on_one_line(request["tool"], VALUE_LENGTH))
    sentences = []
    for group, names in tools.items():
        values = {"group": on_one_line(group, VALUE_LENGTH), "tools": ", ".join(names)}
        sentences.append(
            _("Waits for %(group)s: %(tools)s.") % values
            if group
            else _("Waiting for an answer: %(tools)s.") % values
        )
    return " ".join(sentences)
