"""The files of a model call: bytes in place of references, and words in place of the oldest files."""

import asyncio
from collections.abc import Sequence, Set
from typing import Any

from google.adk.agents.callback_context import CallbackContext
from google.adk.models import LlmRequest
from google.adk.plugins import BasePlugin
from google.adk.tools.load_artifacts_tool import as_safe_part_for_llm
from google.genai import types

from chat.agent.memory import file_parts, run_files
from chat.agent.memory.file_parts import words_of
from chat.agent.memory.run_files import RunFiles, part_reference
from chat.files.kinds import INLINE_BYTES, TEXT_BYTES

REQUEST_FILES_MAX = 20  # of one model call
SHOWN_EARLIER = "shown earlier"

FilePart = types.Part | types.FunctionResponsePart


class FilledFiles(BasePlugin):
    """Gives each model call the bytes of its files, before the agent's own callbacks see the request."""

    async def before_model_callback(
        self, *, callback_context: CallbackContext, llm_request: LlmRequest
    ) -> None:
        if files := run_files.current_files.get():
            await fill(llm_request, files)


async def fill(request: LlmRequest, files: RunFiles) -> None:
    """Replace the references of a request by bytes, and the oldest files by words if there are too many.

    Parts are replaced, never changed: the session has them too.
    """
    found = [_file_parts(content) for content in request.contents]
    if not any(found):
        return
    dropped = oldest([[_size(part) or 0 for part in each] for each in found])
    kept = [part for each in found for part in each][dropped:]
    await files.read(reference for part in kept if (reference := part_reference(part)))
    request.contents = await asyncio.to_thread(_filled, request.contents, files, {id(part) for part in kept})


def oldest(groups: Sequence[Sequence[int]]) -> int:
    """Return how many files, from the oldest on, become words. ``groups`` are the sizes in each content.

    Whenever a content makes them exceed REQUEST_FILES_MAX or INLINE_BYTES, older ones lose theirs until half
    of both is left. So several turns in a row drop nothing, and the beginning of their requests stays the
    same: the model's provider has it in its cache.
    """
    begin = 0
    for end, added in enumerate(groups, 1):
        if added and not _fits(groups[begin:end], 1.0):
            while begin < end - 1 and not _fits(groups[begin:end], 0.5):
                begin += 1
    dropped = sum(map(len, groups[:begin]))
    last = list(groups[begin]) if begin < len(groups) else []
    while not _fits([last], 1.0):  # one content alone, for example the result of a tool
        last.pop(0)
        dropped += 1
    return dropped


def _fits(sizes: Sequence[Sequence[int]], share: float) -> bool:
    count, size = sum(map(len, sizes)), sum(map(sum, sizes))
    return count <= REQUEST_FILES_MAX * share and size <= INLINE_BYTES * share


def _file_parts(content: types.Content) -> list[FilePart]:
    found: list[FilePart] = []
    for part in content.parts or ():
        if part.function_response:
            found += part.function_response.parts or ()
        else:
            found.append(part)
    return [part for part in found if _size(part) is not None]


def _size(part: FilePart) -> int | None:
    """Return the bytes of a file's part, or None for another part."""
    if part.inline_data:
        return len(part.inline_data.data or b"")
    reference = part_reference(part)
    return reference.size if reference else None


def _filled(contents: Sequence[types.Content], files: RunFiles, kept: Set[int]) -> list[types.Content]:
    """Return the contents with the bytes of their ``kept`` parts, by id, and words for their other files."""
    return [
        content.model_copy(update={"parts": [_given(part, files, kept) for part in content.parts or ()]})
        if _file_parts(content)
        else content
        for content in contents
    ]


def _given(part: types.Part, files: RunFiles, kept: Set[int]) -> types.Part:
    """Return the part as the model is given it. Words have no signature: it is that of the bytes."""
    if part.function_response:
        response = part.function_response
        parts = [_given_in_response(each, files, kept) for each in response.parts or ()]
        changed = file_parts.with_response_parts(response, parts)
        return part.model_copy(update={"function_response": changed})
    if _size(part) is None:
        return part
    if id(part) not in kept:
        return types.Part(text=_earlier(part))
    reference = part_reference(part)
    filled = files.fill(part, reference) if reference else part
    blob = filled.inline_data
    if blob is None or not file_parts.is_given_as_text(blob.mime_type or ""):
        return filled
    name, text = blob.display_name or "", files.texts.get(id(blob.data))
    if text is None:
        text = as_safe_part_for_llm(filled, name).text or ""
        if files.find(blob.data):  # only of objects that stay, so that no other one gets the id
            files.texts[id(blob.data)] = text
    text = text if len(text) <= TEXT_BYTES else f"{text[:TEXT_BYTES]}\n[the rest is left out]"
    return types.Part(text=f"File {name}:\n\n{text}" if name else text)


def _given_in_response(
    part: types.FunctionResponsePart, files: RunFiles, kept: Set[int]
) -> types.FunctionResponsePart | str:
    if _size(part) is None:
        return part
    if id(part) not in kept:
        return _earlier(part)
    reference, pointer = part_reference(part), part.file_data
    if not (reference and pointer):
        return part
    data = files.bytes_of(reference)
    if data is None:
        return run_files.gone(pointer)
    blob = types.FunctionResponseBlob(
        data=data, mime_type=pointer.mime_type, display_name=pointer.display_name
    )
    return part.model_copy(update={"file_data": None, "inline_data": blob})


def _earlier(part: FilePart) -> str:
    about: Any = part.inline_data or part.file_data
    return words_of(about.mime_type or "", about.display_name or "", SHOWN_EARLIER)
