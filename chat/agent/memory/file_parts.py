"""Files in ADK's parts: references in place of their bytes, their tokens, and the words in place of a file.

A reference is a part's ``file_data`` whose URI names a stored file, its size in bytes and its tokens. Pure
values: nothing here reads a file.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from google.genai import types

from chat.files.kinds import DOCX, INLINE_BYTES, PDF, TEXT_BYTES, Given, given_as

CHARACTERS_PER_TOKEN = 4  # of text, roughly

# Gemini's figures: https://ai.google.dev/gemini-api/docs/tokens
PICTURE_TOKENS = 258  # of a small picture, and of each tile of a larger one
SMALL_SIDE, TILE_SIDE = 384, 768  # pixels
UNKNOWN_PICTURE_TOKENS = 4 * PICTURE_TOKENS  # of 1024 x 1024 pixels, as models draw
# Estimates, because these files stay closed: pages of 50 KB, sound of 16 KB/s with 32 tokens/s, and video of
# 300 KB/s with 300 tokens/s.
PDF_PAGE_BYTES = 50_000
SOUND_TOKEN_BYTES = 500
VIDEO_TOKEN_BYTES = 1_000

_URI = re.compile(r"parley:([0-9a-f-]{36})\?size=(\d+)&tokens=(\d+)")
_URI_IN_JSON = re.compile(r'"file_?[Uu]ri": ?"parley:[0-9a-f-]{36}\?size=\d+&tokens=(\d+)"')

Holder = types.Blob | types.FunctionResponseBlob
Pointer = types.FileData | types.FunctionResponseFileData
# Returns what a part has in place of these bytes: a reference's URI, or words.
Substitute = Callable[[Holder], "Reference | str"]


@dataclass(frozen=True, slots=True)
class Reference:
    """A stored file that a part refers to."""

    file: uuid.UUID
    size: int  # bytes
    tokens: int

    @property
    def uri(self) -> str:
        return f"parley:{self.file}?size={self.size}&tokens={self.tokens}"


def reference_of(item: dict[str, Any]) -> Reference:
    """Return the reference to the file of an item of a message's parts."""
    tokens = tokens_of(item["mime"], item["size"], item["width"], item["height"])
    return Reference(uuid.UUID(item["file"]), item["size"], tokens)


def parse_uri(uri: str | None) -> Reference | None:
    """Return the reference that this URI is, or None for another one."""
    found = _URI.fullmatch(uri or "")
    if not found:
        return None
    try:
        return Reference(uuid.UUID(found[1]), int(found[2]), int(found[3]))
    except ValueError:  # 36 characters that are no UUID
        return None


def tokens_of(mime: str, size: int, width: int | None = None, height: int | None = None) -> int:
    """Return the tokens that a model counts for a file, estimated from its type and size."""
    if mime.startswith("image/"):
        if not width or not height:
            return UNKNOWN_PICTURE_TOKENS
        if max(width, height) <= SMALL_SIDE:
            return PICTURE_TOKENS
        return PICTURE_TOKENS * -(-width // TILE_SIDE) * -(-height // TILE_SIDE)
    if mime == PDF:
        return PICTURE_TOKENS * max(1, round(size / PDF_PAGE_BYTES))
    if mime.startswith("audio/"):
        return max(1, size // SOUND_TOKEN_BYTES)
    if mime.startswith("video/"):
        return max(1, size // VIDEO_TOKEN_BYTES)
    return max(1, min(size, TEXT_BYTES) // CHARACTERS_PER_TOKEN)


def characters_of(payload: str, decode: Callable[[str], Any]) -> int:
    """Return the size of a stored ADK event for the window, with each file as a model counts it."""
    size = len(payload)
    if '"parley:' in payload:
        size += CHARACTERS_PER_TOKEN * sum(int(found[1]) for found in _URI_IN_JSON.finditer(payload))
    if '"inlineData":' in payload:  # stored by a version before, or too large to be stored
        for blob in _encoded_blobs(decode(payload)):
            encoded = len(blob["data"])
            mime = str(blob.get("mimeType") or "")
            size += CHARACTERS_PER_TOKEN * tokens_of(mime, encoded * 3 // 4) - encoded
    return size


def _encoded_blobs(value: Any) -> Iterable[dict[str, Any]]:
    if isinstance(value, dict):
        blob = value.get("inlineData")
        if isinstance(blob, dict) and isinstance(blob.get("data"), str):
            yield blob
        for each in value.values():
            yield from _encoded_blobs(each)
    elif isinstance(value, list):
        for each in value:
            yield from _encoded_blobs(each)


# --- words ----------------------------------------------------------------------------------------


def words_of(mime: str, name: str, why: str) -> str:
    """Return the words that a model reads in place of a file."""
    first = mime.partition("/")[0]
    kind = {"image": "picture", "audio": "sound", "video": "video"}.get(first, "file")
    return f"[{' '.join(filter(None, [kind, name]))}, {why}]"


def question_parts(text: str, items: Sequence[dict[str, Any]]) -> list[types.Part]:
    """Return the parts of a question: its text, and a reference for each file of these ``items``.

    Words are in the place of a file that the model cannot be given, alone or beside those before it.
    """
    found = [types.Part(text=text)] if text or not items else []
    room = INLINE_BYTES
    for item in items:
        mime, name, size = item["mime"], item["name"], item["size"]
        about = f"{mime}, {max(1, round(size / 1000))} KB"
        if given_as(mime, size) == Given.NAME:
            is_readable = given_as(mime, 0) != Given.NAME
            why = "too large to be read" if is_readable else "of a type that cannot be read"
            found.append(types.Part(text=words_of("", name, f"{about}: {why}")))
        elif size > room:
            found.append(types.Part(text=words_of("", name, f"{about}: too large beside the other files")))
        else:
            room -= size
            data = types.FileData(file_uri=reference_of(item).uri, mime_type=mime, display_name=name)
            found.append(types.Part(file_data=data))
    return found


def is_given_as_text(mime: str) -> bool:
    """Return whether a model is given the text of a file of this type, not its bytes."""
    base = mime.partition(";")[0].strip().lower()
    return base == DOCX or given_as(base, 0) == Given.TEXT


# --- bytes in parts, and their references ----------------------------------------------------------


def has_bytes(value: Any) -> bool:
    """Return whether a content, a part, or a container of them has bytes."""
    match value:
        case None | str() | int() | float():
            return False
        case types.Content():
            return any(has_bytes(part) for part in value.parts or ())
        case types.Part():
            if value.function_response:
                return any(has_bytes(part.inline_data) for part in value.function_response.parts or ())
            return has_bytes(value.inline_data)
        case types.Blob() | types.FunctionResponseBlob():
            return bool(value.data)
        case dict():
            return any(has_bytes(each) for each in value.values())
        case list() | tuple():
            return any(has_bytes(each) for each in value)
    return False


def blobs_in(value: Any) -> list[Holder]:
    """Return the bytes of a content, a part, or a container of them, in order."""
    found: list[Holder] = []

    def collect(blob: Holder) -> str:
        found.append(blob)
        return ""

    without_bytes(value, collect)
    return found


def without_bytes(value: Any, change: Substitute) -> Any:
    """Return a copy of ``value`` with ``change``'s reference or words in place of each of its bytes.

    A part keeps its other fields, and its signature, except where words take its place.
    """
    if not has_bytes(value):
        return value
    match value:
        case types.Content():
            return value.model_copy(update={"parts": [without_bytes(p, change) for p in value.parts or ()]})
        case types.Part():
            if value.function_response:
                changed = _response_without_bytes(value.function_response, change)
                return value.model_copy(update={"function_response": changed})
            blob = value.inline_data
            assert blob
            put = change(blob)
            if isinstance(put, str):
                return types.Part(text=put)
            return value.model_copy(update={"inline_data": None, "file_data": _pointer(blob, put)})
        case types.Blob():
            put = change(value)
            return put if isinstance(put, str) else _pointer(value, put)
        case dict():
            return {key: without_bytes(each, change) for key, each in value.items()}
        case _:
            return [without_bytes(each, change) for each in value]


def _pointer(blob: Holder, reference: Reference) -> types.FileData:
    return types.FileData(file_uri=reference.uri, mime_type=blob.mime_type, display_name=blob.display_name)


def _response_without_bytes(response: types.FunctionResponse, change: Substitute) -> types.FunctionResponse:
    def point(part: types.FunctionResponsePart) -> types.FunctionResponsePart | str:
        blob = part.inline_data
        if blob is None or not blob.data:
            return part
        put = change(blob)
        if isinstance(put, str):
            return put
        pointer = types.FunctionResponseFileData(
            file_uri=put.uri, mime_type=blob.mime_type, display_name=blob.display_name
        )
        return part.model_copy(update={"inline_data": None, "file_data": pointer})

    return with_response_parts(response, [point(part) for part in response.parts or ()])


def with_response_parts(
    response: types.FunctionResponse, parts: Sequence[types.FunctionResponsePart | str]
) -> types.FunctionResponse:
    """Return the response with these parts. Words are in its ``files``: such parts have no text."""
    kept = [part for part in parts if not isinstance(part, str)]
    words = [part for part in parts if isinstance(part, str)]
    update: dict[str, Any] = {"parts": kept or None}
    if words:
        update["response"] = {**(response.response or {}), "files": words}
    return response.model_copy(update=update)


def references_in(value: Any) -> list[Reference]:
    """Return the references in a state, as JSON."""
    found: list[Reference] = []
    if isinstance(value, dict):
        uri = value.get("fileUri")
        if isinstance(uri, str) and (reference := parse_uri(uri)):
            found.append(reference)
        else:
            for each in value.values():
                found += references_in(each)
    elif isinstance(value, list):
        for each in value:
            found += references_in(each)
    return found


def with_bytes(value: Any, encoded: Callable[[Reference], str]) -> Any:
    """Return a state, as JSON, with the ``encoded`` bytes in place of its references, as ADK stores them."""
    if isinstance(value, list):
        return [with_bytes(each, encoded) for each in value]
    if not isinstance(value, dict):
        return value
    uri = value.get("fileUri")
    if isinstance(uri, str) and (reference := parse_uri(uri)):
        about = {"displayName": value.get("displayName"), "mimeType": value.get("mimeType")}
        return {"data": encoded(reference), **about}
    filled = {key: with_bytes(each, encoded) for key, each in value.items()}
    pointer = filled.get("fileData")
    if isinstance(pointer, dict) and "data" in pointer:
        filled["inlineData"], filled["fileData"] = pointer, None
    return filled
