"""Show the model calls of a reply: text, thoughts, and the code that the model ran.

Fragments are shown as they come. The whole that follows counts, so it is compared with what was shown
of that model call, and corrected by a ``replace`` event where it differs.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from google.genai import types
from pydantic_core import to_jsonable_python

from chat import events
from chat.agent.turn import parts
from chat.agent.turn.parts import Piece, pieces_of, text_of
from chat.events import Event

CODE_TOOL = "code"  # the name under which code that the model ran is shown as a tool


@dataclass(slots=True)
class _ModelCall:
    """The model call in progress, as far as it was shown. ``early``: before its first text."""

    text: list[str] = field(default_factory=list)  # in pieces, the separators between them too
    thought: bool = False
    early_thought: bool = False
    steps: int = 0  # code and its outcomes
    early_steps: int = 0
    last: str = ""  # the kind of its last piece other than a thought


@dataclass(slots=True)
class ReplyText:
    """Takes the contents of one reply in order; each method returns the events that show them."""

    _shown: list[str] = field(default_factory=list)  # the reply's text so far, in pieces
    _call: _ModelCall = field(default_factory=_ModelCall)
    _codes: int = 0
    _code_began: float = 0.0

    @property
    def says_something(self) -> bool:
        return any(piece.strip() for piece in self._shown)

    def fragment(self, content: types.Content | None) -> list[Event]:
        """Show a part of a model call."""
        return self._show(pieces_of(content))

    def whole(self, content: types.Content) -> list[Event]:
        """Show what is missing of a whole model call, and correct its text where it differs."""
        call, pieces, shown = self._call, pieces_of(content), "".join(self._call.text)
        if shown and text_of(pieces) != shown:
            found = self._correct(pieces)
        else:
            found = self._show(_missing(pieces, thought=call.thought, steps=call.steps, text=bool(shown)))
        self.end_call()
        return found

    def output(self, value: Any) -> list[Event]:
        """Show the output of a workflow that no content says: text as it is, anything else as JSON."""
        if not isinstance(value, str):
            plain = events.clean(to_jsonable_python(value, fallback=repr))
            value = f"```json\n{json.dumps(plain, ensure_ascii=False, indent=2)}\n```"
        self.end_call()
        found = self._show([Piece(parts.TEXT, events.clean_text(value))]) if value else []
        self.end_call()
        return found

    def end_call(self) -> None:
        """The next content is of another model call."""
        self._call = _ModelCall()

    @property
    def is_unfinished(self) -> bool:
        """Whether a model call has shown something and is not yet whole."""
        return bool(self._call.text) or self._call.thought

    def _correct(self, pieces: list[Piece]) -> list[Event]:
        """Replace this call's text; what came before its first text stays."""
        call, self._call = self._call, _ModelCall()
        del self._shown[len(self._shown) - len(call.text) :]
        first = next((n for n, piece in enumerate(pieces) if piece.kind in parts.SAID), len(pieces))
        said, later = pieces[first : first + 1], pieces[first + 1 :]
        if not said and self._shown and self._shown[-1] == events.SEPARATOR:
            self._shown.pop()
        kept = "".join(self._shown)
        text = said[0].text if said else ""
        if text:
            self._take(text, said[0].kind)
        early = _missing(pieces[:first], thought=call.early_thought, steps=call.early_steps, text=True)
        return [events.replace(kept + text, keep=len(kept)), *self._show(early + later)]

    def _show(self, pieces: Iterable[Piece]) -> list[Event]:
        found: list[Event] = []
        for piece in pieces:
            call = self._call
            if piece.kind == parts.THOUGHT:
                call.thought = True
                call.early_thought = call.early_thought or not call.text
                found.append(events.thought(piece.text))
            elif piece.kind in parts.SAID:
                found += self._say(piece)
            else:
                call.steps += 1
                call.early_steps += not call.text
                call.last = piece.kind
                found.append(self._ran(piece))
        return found

    def _say(self, piece: Piece) -> list[Event]:
        call = self._call
        found = []
        if parts.is_apart(call.last, piece.kind) if call.text else self._shown:
            self._shown.append(events.SEPARATOR)
            if call.text:
                call.text.append(events.SEPARATOR)
            found.append(events.text(events.SEPARATOR))
        self._take(piece.text, piece.kind)
        return [*found, events.text(piece.text)]

    def _take(self, text: str, kind: str) -> None:
        self._shown.append(text)
        self._call.text.append(text)
        self._call.last = kind

    def _ran(self, piece: Piece) -> Event:
        """A step of code: that it runs, or what came of it."""
        assert piece.part is not None
        if piece.kind == parts.CODE:
            self._codes += 1
            self._code_began = time.monotonic()
            code = piece.part.executable_code or types.ExecutableCode()
            language = code.language.value.lower() if code.language else ""
            args = {"language": language, "code": code.code or ""}
            return events.tool_called(self._code_id, CODE_TOOL, args)
        outcome = piece.part.code_execution_result or types.CodeExecutionResult()
        result = {
            "outcome": outcome.outcome.value if outcome.outcome else "",
            "output": outcome.output or "",
        }
        elapsed = round((time.monotonic() - self._code_began) * 1000) if self._code_began else 0
        return events.tool_returned(self._code_id, CODE_TOOL, result=result, elapsed_ms=elapsed)

    @property
    def _code_id(self) -> str:
        return f"{CODE_TOOL}-{self._codes}"


def _missing(pieces: Iterable[Piece], *, thought: bool, steps: int, text: bool) -> list[Piece]:
    """Return what of ``pieces`` was not shown: ``thought`` and ``text`` say whether these were,
    ``steps`` how many steps of code.
    """
    found = []
    for piece in pieces:
        if piece.kind in (parts.CODE, parts.OUTCOME):
            steps -= 1
            was_shown = steps >= 0
        else:
            was_shown = thought if piece.kind == parts.THOUGHT else text
        if not was_shown:
            found.append(piece)
    return found
