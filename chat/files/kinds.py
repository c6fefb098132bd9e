"""Kinds of files: the type of some bytes, by their content, and how a model is given them."""

import codecs
import mimetypes
import warnings
import zipfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import puremagic
from PIL import Image

# Only headers are read here, and a thumbnail has a limit of its own. Twice the warned size stays an error.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

HEAD_BYTES = 64 * 1024
UNKNOWN = "application/octet-stream"
PLAIN_TEXT = "text/plain"
PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
# Pillow reads their sizes from their headers. All others of its formats stay closed.
PICTURES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
}
# puremagic's names, and the ones that browsers and models know.
PLAYED = {
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/mpeg": "audio/mpeg",
    "audio/mp4": "audio/mp4",
    "audio/flac": "audio/flac",
    "application/ogg": "audio/ogg",
    "audio/ogg": "audio/ogg",
    "video/mp4": "video/mp4",
    "video/quicktime": "video/quicktime",
    "video/webm": "video/webm",
}
# Bytes of one question's files that a model is given inline: Gemini's requests have at most 20 MB, and base64
# takes a third more. The rest is for the words.
INLINE_BYTES = 14 * 1024 * 1024
TEXT_BYTES = 512 * 1024  # of one file that is given as text


@dataclass(frozen=True, slots=True)
class Kind:
    """Type of a file's content; ``width`` and ``height`` are pixels, of pictures."""

    mime: str
    width: int | None = None
    height: int | None = None


class Given(StrEnum):
    """Form in which a model is given a file."""

    INLINE = "inline"  # its bytes
    TEXT = "text"
    NAME = "name"  # only its name, type and size


def kind_of(path: Path, name: str) -> Kind:
    """Return the kind of the file at ``path``. Its ``name`` only tells texts from each other."""
    if picture := _picture(path):
        return picture
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(b"%PDF-"):
        return Kind(PDF)
    if head.startswith(b"PK\x03\x04"):
        return Kind(DOCX if _is_docx(path) else "application/zip")
    if played := _played(head):
        return Kind(played)
    return Kind(_text(head, name) if _is_text(head) else UNKNOWN)


def given_as(mime: str, size: int) -> Given:
    """Return how a model is given a file of this type and size, alone in a question."""
    if mime == PDF or mime in PICTURES.values() or mime in PLAYED.values():
        return Given.INLINE if size <= INLINE_BYTES else Given.NAME
    if mime == DOCX:
        return Given.TEXT
    if mime.startswith("text/") or mime in ("application/json", "application/xml", "image/svg+xml"):
        return Given.TEXT if size <= TEXT_BYTES else Given.NAME
    return Given.NAME


def _picture(path: Path) -> Kind | None:
    try:
        with Image.open(path, formats=tuple(PICTURES)) as image:  # reads the header only
            return Kind(PICTURES[image.format or ""], image.width, image.height)
    # Pillow raises nearly anything for a broken header, and a warning of a bomb as an error.
    except (OSError, ValueError, SyntaxError, KeyError, Image.DecompressionBombError):
        return None


def _played(head: bytes) -> str | None:
    try:
        found = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return None
    return next((PLAYED[match.mime_type] for match in found if match.mime_type in PLAYED), None)


def _is_docx(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            archive.getinfo("word/document.xml")
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, NotImplementedError):
        return False
    return True


def _is_text(head: bytes) -> bool:
    if b"\x00" in head:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut at the end
    except UnicodeDecodeError:
        return False
    return True


def _text(head: bytes, name: str) -> str:
    guessed = mimetypes.guess_type(name, strict=False)[0] or ""
    is_text = guessed.startswith("text/") or (given_as(guessed, 0) == Given.TEXT and guessed != DOCX)
    return guessed if is_text else PLAIN_TEXT
