"""Bytes of files in the storage ``files``: written once for the same content, and swept when unused.

The name of an object is the digest of its content. No object is without a row: a row is committed before
its object is written, and deleted after it. ``stored_at`` says that the object is whole.
"""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files import File as DjangoFile
from django.core.files.storage import Storage, storages
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from chat.database import run_db_patiently
from chat.files.models import Blob, File

CHUNK_BYTES = 256 * 1024
# From when no file refers to a blob until it is deleted. A member may be about to send the same bytes again.
KEPT_UNUSED = timedelta(hours=1)
SWEPT_AT_ONCE = 20  # each deletion from a storage elsewhere takes 50 ms, in which others may wait


def storage() -> Storage:
    return storages["files"]


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes on this machine's disk that are not in the storage yet."""

    path: Path
    sha256: str
    size: int


class FileGone(Exception):
    """The row of a file was deleted while its bytes were being stored."""


class ContentWriter:
    """Writer of a temporary file that counts and hashes its bytes."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def finish(self) -> Content:
        self._file.flush()
        os.fsync(self._file.fileno())  # a commit that refers to the bytes must not outlive them
        return Content(self._path, self._digest.hexdigest(), self.size)


@contextmanager
def writer() -> Iterator[ContentWriter]:
    """Yield a writer for content that is to be stored. Its temporary file is deleted after the block."""
    # Beside the stored files, so that the folder backend takes it over by a rename.
    settings.FILES_TEMP_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=settings.FILES_TEMP_DIR)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield ContentWriter(file, path)
    finally:
        path.unlink(missing_ok=True)


class _TemporaryFile(DjangoFile):  # type: ignore[type-arg]
    """File that Django's folder storage moves instead of copying it."""

    def temporary_file_path(self) -> str:
        return str(self.name)


def store(content: Content, file: File) -> None:
    """Store the bytes, and save ``file``, whose ``blob`` and ``size`` this sets.

    Call it outside a transaction; it may block for as long as the storage needs. Raises FileGone if ``file``
    had a row that was deleted meanwhile.
    """
    while True:
        blob = _touch(content)
        if blob.stored_at is None:
            write_object(blob_name(content.sha256), content.path)
            _mark_stored(blob.pk)
        file.size = content.size
        if _refer(file, content.sha256):
            return


async def store_async(content: Content, file: File, then: Callable[[], None] | None = None) -> None:
    """Store the bytes, and save the new ``file``, as ``store``, from the event loop.

    Rows go through ``run_db_patiently``, bytes through another thread, so that no transaction waits for the
    storage. ``then`` is called in the transaction that saves ``file``.
    """
    while True:
        blob = await run_db_patiently(_touch, content)
        if blob.stored_at is None:
            await asyncio.to_thread(write_object, blob_name(content.sha256), content.path)
            await run_db_patiently(_mark_stored, blob.pk)
        file.size = content.size
        if await run_db_patiently(_refer_once, file, content.sha256, then):
            return


def _refer_once(file: File, sha256: str, then: Callable[[], None] | None) -> bool:
    """Save a new ``file`` as ``_refer``, also if the answer to an earlier commit of it was lost."""
    if not file._state.adding:
        if File.objects.filter(pk=file.pk).exists():
            return True
        file._state.adding = True
    return _refer(file, sha256, then)


def share(source: File, copy: File) -> None:
    """Let ``copy`` refer to the bytes of ``source``. Call it in a transaction that holds ``source``."""
    copy.blob_id, copy.size, copy.mime = source.blob_id, source.size, source.mime
    copy.width, copy.height = source.width, source.height
    copy.save(force_insert=True)


@transaction.atomic
def _touch(content: Content) -> Blob:
    """Return the row of these bytes, which the sweep now leaves alone for KEPT_UNUSED."""
    Blob.objects.bulk_create([Blob(sha256=content.sha256, size=content.size)], ignore_conflicts=True)
    blob = Blob.objects.select_for_update().filter(pk=content.sha256).first()
    if blob is None:  # the sweep deleted it between both
        return _touch(content)
    blob.unused_since = timezone.now()
    blob.save(update_fields=["unused_since"])
    return blob


def _mark_stored(sha256: str) -> None:
    # None updated: the sweep deleted it meanwhile.
    Blob.objects.filter(pk=sha256).update(stored_at=timezone.now())


@transaction.atomic
def _refer(file: File, sha256: str, then: Callable[[], None] | None = None) -> bool:
    """Save ``file`` with a reference to the bytes, if the storage still has them."""
    blob = Blob.objects.select_for_update().filter(pk=sha256, stored_at__isnull=False).first()
    if blob is None:
        return False
    is_new = file._state.adding
    # Locked, or ``save`` would insert again what a deletion has just removed.
    if not is_new and not File.objects.select_for_update().filter(pk=file.pk).exists():
        raise FileGone
    blob.unused_since = None
    blob.save(update_fields=["unused_since"])
    file.blob = blob
    file.save(force_insert=is_new, force_update=not is_new)
    if then:
        then()
    return True


def blob_name(sha256: str) -> str:
    return f"blobs/{sha256[:2]}/{sha256}"


def thumbnail_name(sha256: str) -> str:
    return f"thumbnails/{sha256[:2]}/{sha256}.webp"


def write_object(name: str, path: Path) -> None:
    """Store the bytes of the temporary file at ``path`` under this name."""
    moved = path.with_name(f"{path.name}.moved")
    os.link(path, moved)  # the folder storage moves it away; ``path`` stays for another try
    try:
        with moved.open("rb") as source:
            # With ``allow_overwrite``, the name stays as it is: the bytes are the same.
            saved = storage().save(name, _TemporaryFile(source, str(moved)))
        if saved != name:
            storage().delete(saved)
            raise OSError(f"The storage of files must overwrite: it has saved {name} as {saved}.")
    finally:
        moved.unlink(missing_ok=True)


def open_blob(sha256: str) -> IO[bytes]:
    """Open the bytes for reading. Raises OSError, and the storage's own errors."""
    opened: Any = storage().open(blob_name(sha256), "rb")
    return opened  # type: ignore[no-any-return]


def path_of(sha256: str) -> Path | None:
    """Return the path of the bytes on this machine's disk; None if the storage has no paths."""
    try:
        return Path(storage().path(blob_name(sha256)))
    except NotImplementedError:
        return None


def read(file: File) -> bytes:
    """Return the bytes of a complete file."""
    assert file.blob_id
    with open_blob(file.blob_id) as source:
        return source.read()


def sweep_some() -> int:
    """Mark blobs that no file refers to, and delete those that are unused for KEPT_UNUSED.

    Return how many were deleted: at most SWEPT_AT_ONCE.
    """
    now = timezone.now()
    referring = File.objects.filter(blob=OuterRef("pk"))
    Blob.objects.filter(~Exists(referring), unused_since=None).update(unused_since=now)
    due = Blob.objects.filter(unused_since__lte=now - KEPT_UNUSED)
    return sum(_delete(sha256) for sha256 in list(due.values_list("pk", flat=True)[:SWEPT_AT_ONCE]))


def _delete(sha256: str) -> bool:
    """Delete a blob that is still unused.

    The row says first that its object is not whole: a process may die between the object and the row.
    """
    with transaction.atomic():
        blob = _lock_unused(sha256)
        if blob is None:
            return False
        blob.stored_at = None
        blob.save(update_fields=["stored_at"])
    with transaction.atomic():
        # Locked while the object goes: an upload of the same bytes waits, and then writes it again.
        blob = _lock_unused(sha256)
        if blob is None or blob.stored_at is not None:
            return False
        storage().delete(blob_name(sha256))
        storage().delete(thumbnail_name(sha256))
        blob.delete()
        return True


def _lock_unused(sha256: str) -> Blob | None:
    blob = Blob.objects.select_for_update().filter(pk=sha256).first()
    if blob is None or blob.unused_since is None or blob.unused_since > timezone.now() - KEPT_UNUSED:
        return None
    if File.objects.filter(blob=blob).exists():
        blob.unused_since = None
        blob.save(update_fields=["unused_since"])
        return None
    return blob
