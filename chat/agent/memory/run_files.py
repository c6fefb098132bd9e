"""The files of a run: bytes that its agent makes are stored before an event has them, and read once.

Bytes and the storage stay on threads of their own; only rows go through ``run_db``.
"""

import asyncio
import base64
import logging
import threading
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from google.adk.events import Event
from google.genai import types

from chat.agent.memory import file_parts
from chat.agent.memory.file_parts import Holder, Reference, reference_of, words_of
from chat.database import run_db_patiently
from chat.events import clean_text
from chat.files import blobs, kinds, quota
from chat.files.blobs import Content
from chat.files.kinds import Kind
from chat.files.models import File
from chat.refusals import Refusal

log = logging.getLogger(__name__)

FILE_NAME_LENGTH = 255  # characters of File.name
MIME_LENGTH = 127
# of files without a name, by the first half of their type
UNNAMED = {"image": "picture", "audio": "sound", "video": "video", "text": "text"}
EXTENSIONS = {
    "image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp",
    "image/avif": ".avif", "audio/wav": ".wav", "audio/mpeg": ".mp3", "audio/mp4": ".m4a",
    "audio/flac": ".flac", "audio/ogg": ".ogg", "video/mp4": ".mp4", "video/quicktime": ".mov",
    "video/webm": ".webm", "application/pdf": ".pdf", "text/plain": ".txt", "text/csv": ".csv",
    "application/json": ".json",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A stored file, as clients receive it (``File.as_item``) and as a part refers to it."""

    item: dict[str, Any]
    sha256: str

    @classmethod
    def of(cls, file: File) -> "StoredFile":
        assert file.blob_id
        return cls(file.as_item(), file.blob_id)

    @property
    def reference(self) -> Reference:
        return reference_of(self.item)


class RunFiles:
    """The files that a run reads and makes. Thread-safe, because ADK runs tools in threads.

    It keeps the bytes until the run ends: those that it made, and those that a model call was given.
    """

    def __init__(
        self,
        owner_id: int,
        conversation_id: uuid.UUID | None,
        run_id: uuid.UUID | None,
        *,
        attempt: int = 0,
        parent_id: uuid.UUID | None = None,
    ) -> None:
        self.owner_id = owner_id
        self.conversation_id = conversation_id
        self.run_id = run_id
        self.attempt = attempt
        self.parent_id = parent_id  # the message at which the branch before the run ends
        self.branch: frozenset[uuid.UUID] | None = None  # runs before this one, once they are read
        # Artifacts that were saved in this run, by name and version; None for one without bytes.
        self.saved: dict[tuple[str, int], StoredFile | None] = {}
        self._lock = threading.Lock()
        self._bytes: dict[uuid.UUID, bytes | None] = {}  # None: the file is gone
        # By the bytes object's id; the entry keeps the object, so no other one gets its id. None: not kept.
        self._by_object: dict[int, tuple[bytes, StoredFile | None]] = {}
        self._by_digest: dict[str, StoredFile | None] = {}
        self.texts: dict[int, str] = {}  # of documents, by the id of their bytes
        self._names: dict[str, int] = {}  # how many unnamed files of a kind there are

    def begin(self, run_id: uuid.UUID, *, attempt: int, parent_id: uuid.UUID | None) -> None:
        """Start again as the files of another run of the conversation, a turn of a call."""
        with self._lock:
            self.run_id, self.attempt, self.parent_id, self.branch = run_id, attempt, parent_id, None
            for kept in (self.saved, self._bytes, self._by_object, self._by_digest, self.texts, self._names):
                kept.clear()

    # --- made in this run -------------------------------------------------------------------------

    def find(self, data: bytes | None) -> StoredFile | None:
        """Return the stored file with these bytes, which ``keep`` or ``read`` has seen."""
        entry = self._by_object.get(id(data))
        return entry[1] if entry else None

    async def keep(self, blob: Holder) -> StoredFile | None:
        """Store the bytes as a file of this run, unless they are stored; None if they cannot be kept.

        A model's file has been paid for, so it may exceed the member's quota once. It is not kept if it is
        larger than FILE_MAX_BYTES, or if the quota is exceeded already.
        """
        data = blob.data
        assert data is not None
        if id(data) in self._by_object:
            return self._by_object[id(data)][1]
        if len(data) > settings.FILE_MAX_BYTES:
            self._remember(data, None)
            return None
        with ExitStack() as stack:
            name, mime = blob.display_name or "", blob.mime_type or ""
            content, kind = await asyncio.to_thread(_write, stack, data, name, mime)
            if content.sha256 not in self._by_digest:
                stored = None
                if await run_db_patiently(_has_room, self.owner_id):
                    file = self.new_file(self._name(name, kind.mime), kind)
                    await blobs.store_async(content, file)
                    stored = StoredFile.of(file)
                self._by_digest[content.sha256] = stored
        stored = self._by_digest[content.sha256]
        self._remember(data, stored)
        return stored

    async def save(
        self, data: bytes, name: str, mime: str, new_version: Callable[[File], Callable[[], None]]
    ) -> StoredFile:
        """Store the bytes as a file of its own, for a version of an artifact.

        ``new_version`` returns what is to be done in the transaction that stores its row. It may raise
        IntegrityError there, and the whole transaction is repeated.
        """
        with ExitStack() as stack:
            content, kind = await asyncio.to_thread(_write, stack, data, name, mime)
            file = self.new_file(name[:FILE_NAME_LENGTH], kind)
            await blobs.store_async(content, file, new_version(file))
        stored = StoredFile.of(file)
        if self.run_id:
            with self._lock:
                # A picture of these bytes in the reply is this file, if it is not shown already.
                self._by_digest.setdefault(content.sha256, stored)
                self._bytes[file.pk] = data
            if id(data) not in self._by_object:
                self._remember(data, self._by_digest[content.sha256])
        return stored

    def new_file(self, name: str, kind: Kind) -> File:
        return File(
            owner_id=self.owner_id,
            conversation_id=self.conversation_id,
            run_id=self.run_id,
            name=name,
            mime=kind.mime,
            width=kind.width,
            height=kind.height,
        )

    async def without_bytes(self, event: Event) -> Event:
        """Return the event as it is stored: with references to stored files in place of bytes.

        Values of the state stay as they are, and so does the event, which the agent's code reads.
        """
        for blob in file_parts.blobs_in(event.content):
            await self.keep(blob)
        return event.model_copy(update={"content": file_parts.without_bytes(event.content, self._put)})

    async def state_without_bytes(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return the conversation's part of a state delta with references in place of bytes.

        Values of the member and of the app stay: they outlive the conversation, whose files would go.
        """
        found = dict(delta)
        for key, value in delta.items():
            if not key.startswith(("user:", "app:", "temp:")) and file_parts.has_bytes(value):
                for blob in file_parts.blobs_in(value):
                    await self.keep(blob)
                found[key] = file_parts.without_bytes(value, self._put)
        return found

    def _put(self, blob: Holder) -> Reference | str:
        if stored := self.find(blob.data):
            return stored.reference
        return words_of(blob.mime_type or "", blob.display_name or "", "which could not be kept")

    def _remember(self, data: bytes, stored: StoredFile | None) -> None:
        with self._lock:
            self._by_object[id(data)] = data, stored
            if stored:
                self._bytes[stored.reference.file] = data

    def _name(self, name: str, mime: str) -> str:
        if cleaned := clean_text(name).strip()[:FILE_NAME_LENGTH]:
            return cleaned
        stem = UNNAMED.get(mime.partition("/")[0], "file")
        with self._lock:
            self._names[stem] = number = self._names.get(stem, 0) + 1
        return f"{stem}{f'-{number}' if number > 1 else ''}{EXTENSIONS.get(mime, '')}"

    # --- stored before ----------------------------------------------------------------------------

    async def read(self, references: Iterable[Reference]) -> None:
        """Read the bytes of these files, each once a run. Files of others, and hidden ones, are gone."""
        missing = {each.file for each in references} - self._bytes.keys()
        if not missing:
            return
        files = await run_db_patiently(_readable, self.owner_id, missing)
        found = await asyncio.to_thread(lambda: {file.pk: _read(file) for file in files})
        with self._lock:
            for pk in missing:
                self._bytes.setdefault(pk, found.get(pk))
            for file in files:
                if (data := self._bytes[file.pk]) is not None:
                    self._by_object[id(data)] = data, StoredFile.of(file)

    def bytes_of(self, reference: Reference) -> bytes | None:
        """Return the bytes of a file that ``read`` was called for; None if it is gone."""
        return self._bytes[reference.file]

    async def filled(self, parts: Iterable[types.Part]) -> list[types.Part]:
        """Return the parts with the bytes of their references; words for a file that is gone."""
        parts = list(parts)
        found = {n: reference for n, part in enumerate(parts) if (reference := part_reference(part))}
        await self.read(found.values())
        return [self.fill(part, found[n]) if n in found else part for n, part in enumerate(parts)]

    def fill(self, part: types.Part, reference: Reference) -> types.Part:
        """Return the part with the bytes of its reference, which are read; words if the file is gone."""
        pointer, data = part.file_data, self.bytes_of(reference)
        assert pointer
        if data is None:
            return types.Part(text=gone(pointer))
        blob = types.Blob(data=data, mime_type=pointer.mime_type, display_name=pointer.display_name)
        return part.model_copy(update={"file_data": None, "inline_data": blob})

    async def filled_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return a state with bytes in place of its references, as JSON; empty for a file that is gone."""
        references = file_parts.references_in(state)
        if not references:
            return state
        await self.read(references)
        return await asyncio.to_thread(file_parts.with_bytes, state, self._encoded)

    def _encoded(self, reference: Reference) -> str:
        return base64.urlsafe_b64encode(self.bytes_of(reference) or b"").decode()


# Set for the tasks of a run, as ``model_calls.current``.
current_files: ContextVar[RunFiles | None] = ContextVar("run_files", default=None)


def part_reference(part: types.Part | types.FunctionResponsePart) -> Reference | None:
    return file_parts.parse_uri(part.file_data.file_uri) if part.file_data else None


def gone(pointer: file_parts.Pointer) -> str:
    """Return the words for a file that was deleted or hidden."""
    return words_of(pointer.mime_type or "", pointer.display_name or "", "which no longer exists")


def not_kept(blob: Holder) -> str:
    """Return the sentence that a reply shows in place of a file that could not be kept."""
    return _("[A file that could not be kept: %(kind)s, %(size)s KB]") % {
        "kind": clean_text(blob.display_name or blob.mime_type or _("unknown kind")),
        "size": max(1, round(len(blob.data or b"") / 1000)),
    }


def _write(stack: ExitStack, data: bytes, name: str, mime: str) -> tuple[Content, Kind]:
    """Write the bytes to a temporary file, which ``stack`` deletes. Return it and its kind.

    The type is that of the content. The declared one counts for bytes that no type is known for, and among
    texts.
    """
    writer = stack.enter_context(blobs.writer())
    writer.write(data)
    content = writer.finish()
    kind = kinds.kind_of(content.path, name)
    declared = mime.partition(";")[0].strip().lower()[:MIME_LENGTH]
    if kind.mime == kinds.UNKNOWN:
        # A known type would have been found: the bytes are not what the model says.
        known = {*kinds.PICTURES.values(), *kinds.PLAYED.values(), kinds.PDF, kinds.DOCX}
        is_new = "/" in declared and declared not in known and not file_parts.is_given_as_text(declared)
        return content, Kind(declared if is_new else kinds.UNKNOWN)
    if kind.mime == kinds.PLAIN_TEXT and file_parts.is_given_as_text(declared) and declared != kinds.DOCX:
        return content, Kind(declared)
    return content, kind


def _has_room(owner_id: int) -> bool:
    try:
        quota.check_quota(owner_id, 0)
    except Refusal:
        return False
    return True


def _readable(owner_id: int, ids: Iterable[uuid.UUID]) -> list[File]:
    # Not ``reading.readable``: a conversation that was deleted meanwhile can come back.
    found = File.objects.filter(pk__in=ids, owner=owner_id, blob__isnull=False)
    return list(found.filter(message__hidden_at=None, run__hidden_marks__isnull=True))


def _read(file: File) -> bytes | None:
    try:
        return blobs.read(file)
    except FileNotFoundError:
        log.error("The storage has lost the bytes of file %s", file.pk)  # noqa: TRY400
        return None
