"""The parts of a content that a reply shows, in order."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext as _
from google.genai import types

from chat import events

TEXT, THOUGHT, WORDS, CODE, OUTCOME = "text", "thought", "words", "code", "outcome"
SAID = (TEXT, WORDS)  # what makes the reply's text


@dataclass(frozen=True, slots=True)
class Piece:
    """One part as it is shown, or several parts of text in a row.

    ``text`` is empty for CODE and OUTCOME, whose ``part`` holds what ran and what came of it. WORDS
    name what cannot be shown yet.
    """

    kind: str
    text: str = ""
    part: types.Part | None = None


def pieces_of(content: types.Content | None) -> list[Piece]:
    """Return what is shown of ``content``; function calls and responses are left to the caller."""
    found: list[Piece] = []
    for part in (content.parts if content else None) or []:
        piece = _piece(part)
        if piece is None:
            continue
        if piece.text and found and found[-1].kind == piece.kind and piece.kind != WORDS:
            piece = Piece(piece.kind, found.pop().text + piece.text)
        found.append(piece)
    return [Piece(p.kind, events.clean_text(p.text), p.part) for p in found]


def text_of(pieces: Iterable[Piece]) -> str:
    """Return the text of one model call, as the reply has it."""
    text = before = ""
    for piece in pieces:
        if piece.kind in SAID:
            text += (events.SEPARATOR if text and is_apart(before, piece.kind) else "") + piece.text
        before = before if piece.kind == THOUGHT else piece.kind
    return text


def is_apart(before: str, kind: str) -> bool:
    """Return whether a blank line separates two pieces of one model call, by their kinds."""
    return kind == WORDS or before in (WORDS, CODE, OUTCOME)


def _piece(part: types.Part) -> Piece | None:
    if part.text:
        return Piece(THOUGHT if part.thought else TEXT, part.text)
    if part.executable_code:
        return Piece(CODE, part=part)
    if part.code_execution_result:
        return Piece(OUTCOME, part=part)
    words = _words_for(part)
    return Piece(WORDS, words) if words else None


def _words_for(part: types.Part) -> str:
    """Name a file that a page cannot show yet; empty for any other part."""
    if part.inline_data:
        size = len(part.inline_data.data or b"")
        return _("[A file that cannot be shown here yet: %(kind)s, %(size)s KB]") % {
            "kind": _kind(part.inline_data),
            "size": max(1, round(size / 1000)),
        }
    if part.file_data:
        return _("[A file that cannot be shown here yet: %(kind)s]") % {"kind": _kind(part.file_data)}
    return ""


def _kind(file: types.Blob | types.FileData) -> str:
    kind = file.mime_type or _("unknown kind")
    return f"{file.display_name}, {kind}" if file.display_name else kind
