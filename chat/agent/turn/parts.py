"""The pieces of a model's content that a reply shows, in order, and their text."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from django.utils.translation import gettext as _
from google.genai import types

from chat import events
from chat.agent.memory import file_parts, run_files
from chat.agent.memory.run_files import StoredFile

TEXT_PIECE, THOUGHT_PIECE, PLACEHOLDER_PIECE = "text", "thought", "placeholder"
CODE_PIECE, OUTCOME_PIECE, FILE_PIECE = "code", "outcome", "file"
TEXT_KINDS = (TEXT_PIECE, PLACEHOLDER_PIECE)  # they make up the reply's text


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a content, or consecutive parts of text or thought joined.

    Code and its outcome have a ``part`` and no ``text``; a file has a ``file``. A placeholder names a file
    that is elsewhere, or that could not be kept.
    """

    kind: str
    text: str = ""
    part: types.Part | None = None
    file: StoredFile | None = None


FindFile = Callable[[bytes | None], StoredFile | None]


def pieces_of(content: types.Content | None, find: FindFile | None = None) -> list[Piece]:
    """Return the pieces of ``content``. Function calls and responses are not among them.

    ``find`` returns the stored file with some bytes. Without it, files have no ``file``.
    """
    found: list[Piece] = []
    for part in (content.parts if content else None) or []:
        piece = _piece(part, find)
        if piece is None:
            continue
        if piece.text and found and found[-1].kind == piece.kind and piece.kind != PLACEHOLDER_PIECE:
            piece = Piece(piece.kind, found.pop().text + piece.text)
        found.append(piece)
    return [replace(piece, text=events.clean_text(piece.text)) for piece in found]


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
    return kind == PLACEHOLDER_PIECE or before in (
        PLACEHOLDER_PIECE,
        CODE_PIECE,
        OUTCOME_PIECE,
        FILE_PIECE,
    )


def _piece(part: types.Part, find: FindFile | None) -> Piece | None:
    if part.text:
        return Piece(THOUGHT_PIECE if part.thought else TEXT_PIECE, part.text)
    if part.executable_code:
        return Piece(CODE_PIECE, part=part)
    if part.code_execution_result:
        return Piece(OUTCOME_PIECE, part=part)
    if part.inline_data and part.inline_data.data:
        file = find(part.inline_data.data) if find else None
        if find and file is None:
            return Piece(PLACEHOLDER_PIECE, run_files.not_kept(part.inline_data))
        return Piece(FILE_PIECE, file=file)
    if part.file_data and file_parts.parse_uri(part.file_data.file_uri):
        return Piece(FILE_PIECE)
    return Piece(PLACEHOLDER_PIECE, elsewhere(part.file_data)) if part.file_data else None


def elsewhere(pointer: file_parts.Pointer) -> str:
    """Return the sentence for a file that only its address is known of."""
    kind = pointer.mime_type or _("unknown kind")
    named = f"{pointer.display_name}, {kind}" if pointer.display_name else kind
    return _("[A file that cannot be shown here yet: %(kind)s]") % {"kind": named}
