"""The pieces of a model's content that a reply shows, in order, and their text."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext as _
from google.genai import types

from chat import events

TEXT_PIECE, THOUGHT_PIECE, PLACEHOLDER_PIECE = "text", "thought", "placeholder"
CODE_PIECE, OUTCOME_PIECE = "code", "outcome"
TEXT_KINDS = (TEXT_PIECE, PLACEHOLDER_PIECE)  # they make up the reply's text


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a content, or consecutive parts of text or thought joined.

    Code and its outcome have a ``part`` and no ``text``. A placeholder names a file that cannot be shown yet.
    """

    kind: str
    text: str = ""
    part: types.Part | None = None


def pieces_of(content: types.Content | None) -> list[Piece]:
    """Return the pieces of ``content``. Function calls and responses are not among them."""
    found: list[Piece] = []
    for part in (content.parts if content else None) or []:
        piece = _piece(part)
        if piece is None:
            continue
        if piece.text and found and found[-1].kind == piece.kind and piece.kind != PLACEHOLDER_PIECE:
            piece = Piece(piece.kind, found.pop().text + piece.text)
        found.append(piece)
    return [Piece(p.kind, events.clean_text(p.text), p.part) for p in found]


def text_of(pieces: Iterable[Piece]) -> str:
    """Return the text of one model call, as the reply shows it."""
    text = before = ""
    for piece in pieces:
        if piece.kind in TEXT_KINDS:
            text += (events.SEPARATOR if text and needs_blank_line(before, piece.kind) else "") + piece.text
        before = before if piece.kind == THOUGHT_PIECE else piece.kind
    return text


def needs_blank_line(before: str, kind: str) -> bool:
    """Return whether a blank line separates two consecutive pieces of one model call."""
    return kind == PLACEHOLDER_PIECE or before in (PLACEHOLDER_PIECE, CODE_PIECE, OUTCOME_PIECE)


def _piece(part: types.Part) -> Piece | None:
    if part.text:
        return Piece(THOUGHT_PIECE if part.thought else TEXT_PIECE, part.text)
    if part.executable_code:
        return Piece(CODE_PIECE, part=part)
    if part.code_execution_result:
        return Piece(OUTCOME_PIECE, part=part)
    name = placeholder(part)
    return Piece(PLACEHOLDER_PIECE, name) if name else None


def placeholder(part: types.Part | types.FunctionResponsePart) -> str:
    """Return the name of a file that a page cannot show yet, or "" for any other part."""
    if part.inline_data:
        size = len(part.inline_data.data or b"")
        return _("[A file that cannot be shown here yet: %(kind)s, %(size)s KB]") % {
            "kind": _kind(part.inline_data),
            "size": max(1, round(size / 1000)),
        }
    if part.file_data:
        return _("[A file that cannot be shown here yet: %(kind)s]") % {"kind": _kind(part.file_data)}
    return ""


def _kind(
    file: types.Blob | types.FileData | types.FunctionResponseBlob | types.FunctionResponseFileData,
) -> str:
    kind = file.mime_type or _("unknown kind")
    return f"{file.display_name}, {kind}" if file.display_name else kind
