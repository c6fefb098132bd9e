"""The events for the contents of a reply: text, thoughts, files, and code that the model ran.

The whole content is authoritative: a ``replace`` event corrects fragments that were shown differently.
"""

import json
import time
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import Any

from google.genai import types
from pydantic_core import to_jsonable_python

from chat import events
from chat.agent.memory.run_files import StoredFile
from chat.agent.turn import parts
from chat.agent.turn.parts import FindFile, Piece, pieces_of, text_of
from chat.agent.turn.think_tags import ThinkTags
from chat.events import Event


@dataclass(slots=True)
class _ModelCall:
    """The parts of the current model call that were shown; ``early_…`` ones came before its first text."""

    text: list[str] = field(default_factory=list)  # pieces, and the separators between them
    thought: list[str] = field(default_factory=list)
    early_thought: list[str] = field(default_factory=list)
    steps: int = 0  # pieces of code and of their outcomes
    early_steps: int = 0
    files: set[str] = field(default_factory=set)  # digests
    early_files: set[str] = field(default_factory=set)
    last: str = ""  # the kind of its last piece other than a thought
    tags: ThinkTags = field(default_factory=ThinkTags)


@dataclass(slots=True)
class ReplyText:
    """Takes the contents of one reply in order and returns the events that show them."""

    find_file: FindFile  # among the run's files
    agent: str = ""  # the author of the next piece
    files: set[str] = field(default_factory=set)  # digests of those that the reply shows
    last_call: tuple[int, str] = (0, "")  # where the text of the last whole model call begins, and this text
    _shown: list[str] = field(default_factory=list)  # the reply's text so far, in pieces
    _call: _ModelCall = field(default_factory=_ModelCall)
    _code_count: int = 0
    _code_started_at: float = 0.0  # time.monotonic()

    @property
    def says_something(self) -> bool:
        return bool(self.files) or any(piece.strip() for piece in self._shown)

    def fragment(self, content: types.Content | None) -> list[Event]:
        """Show a fragment of a model call."""
        return self._show(_with_thoughts(pieces_of(content, self.find_file), self._call.tags))

    def whole(self, content: types.Content) -> list[Event]:
        """Show the pieces of a model call that no fragment had; correct its text if that differs."""
        call, tags = self._call, ThinkTags()
        found = self._show(call.tags.finish()) if call.tags.is_thinking else []
        pieces, shown = _with_thoughts(pieces_of(content, self.find_file), tags), "".join(call.text)
        is_unclosed = tags.is_thinking and not any(part.function_call for part in content.parts or [])
        pieces += tags.finish()
        if is_unclosed:  # the model forgot the closing tag: what it thought is all that it answered
            said = "".join(piece.text for piece in pieces if piece.kind == parts.THOUGHT_PIECE)
            pieces.append(Piece(parts.TEXT_PIECE, said))
        if shown and text_of(pieces) != shown:
            found += self._correct(pieces)
        else:
            found += self._show(
                _not_shown(pieces, call.files, thought=call.thought, steps=call.steps, text=bool(shown))
            )
        said = "".join(self._call.text)
        self.last_call = sum(map(len, self._shown)) - len(said), said
        self.end_model_call()
        return found

    def output(self, value: Any) -> list[Event]:
        """Show the output of a workflow: text as it is, other values as JSON in a code block."""
        if not isinstance(value, str):
            plain = events.clean_json(to_jsonable_python(value, fallback=repr))
            value = f"```json\n{json.dumps(plain, ensure_ascii=False, indent=2)}\n```"
        self.end_model_call()
        found = self._show([Piece(parts.TEXT_PIECE, events.clean_text(value))]) if value else []
        self.end_model_call()
        return found

    def end_model_call(self) -> None:
        """Treat the next content as another model call."""
        self._call = _ModelCall()

    @property
    def is_unfinished(self) -> bool:
        """Whether fragments of the current model call were shown and its whole content did not come."""
        return bool(self._call.text or self._call.thought)

    def _correct(self, pieces: list[Piece]) -> list[Event]:
        """Replace this call's text. Earlier calls, and pieces before its first text, stay."""
        call, self._call = self._call, _ModelCall()
        del self._shown[len(self._shown) - len(call.text) :]
        first = next((n for n, piece in enumerate(pieces) if piece.kind in parts.TEXT_KINDS), len(pieces))
        first_text, later = pieces[first : first + 1], pieces[first + 1 :]
        if not first_text and self._shown and self._shown[-1] == events.SEPARATOR:
            self._shown.pop()
        kept = "".join(self._shown)
        text = first_text[0].text if first_text else ""
        if text:
            self._append(text, first_text[0].kind)
        self.files -= call.files - call.early_files
        early = _not_shown(
            pieces[:first], call.early_files, thought=call.early_thought, steps=call.early_steps, text=True
        )
        return [events.replace(kept + text, keep=len(kept)), *self._show(early + later)]

    def _show(self, pieces: Iterable[Piece]) -> list[Event]:
        found: list[Event] = []
        for piece in pieces:
            call = self._call
            if piece.kind == parts.THOUGHT_PIECE:
                call.thought.append(piece.text)
                if not call.text:
                    call.early_thought.append(piece.text)
                found.append(events.thought(piece.text))
            elif piece.kind in parts.TEXT_KINDS:
                found += self._show_text(piece)
            elif piece.kind == parts.FILE_PIECE:
                found += self._show_file(piece)
            else:
                call.steps += 1
                call.early_steps += not call.text
                call.last = piece.kind
                found.append(self._code_event(piece))
        return found

    def _show_file(self, piece: Piece) -> list[Event]:
        assert piece.file
        call, digest = self._call, piece.file.sha256
        call.last = piece.kind
        call.files.add(digest)
        if not call.text:
            call.early_files.add(digest)
        return self.file(piece.file)

    def file(self, file: StoredFile) -> list[Event]:
        """Show a file, unless the reply shows it already."""
        if file.sha256 in self.files:
            return []
        self.files.add(file.sha256)
        return [events.file(self.agent, file.item)]

    def _show_text(self, piece: Piece) -> list[Event]:
        call = self._call
        found = []
        if parts.needs_blank_line(call.last, piece.kind) if call.text else self._shown:
            self._shown.append(events.SEPARATOR)
            if call.text:
                call.text.append(events.SEPARATOR)
            found.append(events.text(events.SEPARATOR))
        self._append(piece.text, piece.kind)
        return [*found, events.text(piece.text)]

    def _append(self, text: str, kind: str) -> None:
        self._shown.append(text)
        self._call.text.append(text)
        self._call.last = kind

    def _code_event(self, piece: Piece) -> Event:
        """Return a tool call for code, or a tool result for its outcome."""
        assert piece.part is not None
        if piece.kind == parts.CODE_PIECE:
            self._code_count += 1
            self._code_started_at = time.monotonic()
            code = piece.part.executable_code or types.ExecutableCode()
            language = code.language.value.lower() if code.language else ""
            args = {"language": language, "code": code.code or ""}
            return events.tool_called(self._code_id, events.CODE_TOOL, args)
        outcome = piece.part.code_execution_result or types.CodeExecutionResult()
        result = {
            "outcome": outcome.outcome.value if outcome.outcome else "",
            "output": outcome.output or "",
        }
        started_at = self._code_started_at
        elapsed = round((time.monotonic() - started_at) * 1000) if started_at else 0
        return events.tool_returned(self._code_id, events.CODE_TOOL, result=result, elapsed_ms=elapsed)

    @property
    def _code_id(self) -> str:
        return f"{events.CODE_TOOL}-{self._code_count}"


def _with_thoughts(pieces: Iterable[Piece], tags: ThinkTags) -> list[Piece]:
    """Return the pieces of a model call, with the text between tags as thoughts."""
    found: list[Piece] = []
    for piece in pieces:
        if piece.kind == parts.TEXT_PIECE:
            found += tags.feed(piece.text)
        elif piece.kind == parts.THOUGHT_PIECE:
            found.append(piece)
        else:
            found += [*tags.finish(), piece]
    return found


def _not_shown(
    pieces: Iterable[Piece], files: Set[str], *, thought: list[str], steps: int, text: bool
) -> list[Piece]:
    """Return the ``pieces`` that were not shown.

    ``files`` are the digests of the shown files, ``thought`` is the shown thought, ``text`` says whether the
    text was shown, ``steps`` how many pieces of code and outcome.
    """
    found, shown = [], "".join(thought)
    for piece in pieces:
        if piece.kind in (parts.CODE_PIECE, parts.OUTCOME_PIECE):
            steps -= 1
            was_shown = steps >= 0
        elif piece.kind == parts.FILE_PIECE:
            was_shown = piece.file is not None and piece.file.sha256 in files
        elif piece.kind == parts.THOUGHT_PIECE:
            # A planner's fragments are thoughts only where they hold a tag, so the rest of a plan comes late.
            rest, shown = _rest_of(piece.text, shown)
            if rest.strip() not in shown:
                found.append(Piece(piece.kind, rest))
            was_shown = True
        else:
            was_shown = text
        if not was_shown:
            found.append(piece)
    return found


def _rest_of(thought: str, shown: str) -> tuple[str, str]:
    """Return what follows the common beginning in each of the two."""
    if shown.startswith(thought):  # as a rule: the loop below takes 50 ms for a megabyte
        return "", shown[len(thought) :]
    pairs = enumerate(zip(thought, shown, strict=False))
    common = next((n for n, (a, b) in pairs if a != b), min(len(thought), len(shown)))
    return thought[common:], shown[common:]
