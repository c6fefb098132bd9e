"""Uploads in parts: announced with name and size, sent in any order, complete with their last part.

The bytes of parts are in the storage under ``parts/``. No object there is without a row: its row is committed
before, and locked while it is written or deleted.
"""

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from chat import refusals
from chat.files import blobs, kinds, quota
from chat.files.blobs import CHUNK_BYTES, ContentWriter
from chat.files.models import File, UploadPart
from chat.files.names import clean_name

PART_BYTES = 1024 * 1024
UPLOADS_MAX = 100  # of one member that are not complete
# One request assembles the parts; the others wait for it. It takes 0.3 s for 25 MiB in a folder. A claim that
# is older was of a process that has died.
ASSEMBLY_SECONDS = 30.0
ASSEMBLY_CHECK_SECONDS = 0.05
PARTS_FOLDER = "parts"


def part_bytes() -> int:
    """Return the size of each part but the last: a body may have no more."""
    return int(min(PART_BYTES, settings.BODY_MAX_BYTES))


def create_upload(owner: User, name: str, size: int) -> File:
    """Create an upload that has no bytes yet. Raises the 422, 413 and 429 refusals."""
    if size < 1:
        raise refusals.unprocessable("empty_file", _("The file is empty."))
    with transaction.atomic():
        quota.lock_member(owner.pk)
        if File.objects.filter(owner=owner, blob=None).count() >= UPLOADS_MAX:
            raise refusals.too_many(_("Too many uploads are not complete yet."))
        quota.check_quota(owner.pk, size)
        return File.objects.create(owner=owner, name=clean_name(name), size=size)


def find_upload(owner: User, file_id: uuid.UUID | None) -> File:
    """Return an own file that no message has yet, complete or not. Raises the 404 refusal."""
    found = unused(File.objects.filter(owner=owner, pk=file_id)).first() if file_id else None
    if found is None:
        raise refusals.not_found()
    return found


def find_incomplete(owner: User, file_id: uuid.UUID | None) -> File | None:
    return File.objects.filter(owner=owner, pk=file_id, blob=None).first() if file_id else None


def unused(files: QuerySet[File]) -> QuerySet[File]:
    """Return those of the files that no question has, a queued one included, and no agent has made."""
    return files.filter(conversation=None, message=None, run=None, artifact=None)


def stored_parts(file: File) -> list[int]:
    """Return the numbers of an incomplete upload's parts that are stored, in order."""
    found = file.parts.filter(stored_at__isnull=False).order_by("number").values_list("number", "size")
    # Others were sent with another BODY_MAX_BYTES.
    return [number for number, size in found if size == _size_of_part(file, number)]


def receive_part(file: File, number: int, chunks: Iterable[bytes]) -> File | None:
    """Store a part of an upload, again if need be. Return the file if it is complete.

    Raises the 422 refusal for a part that the upload does not have or of another size, and the 404 one if the
    upload was deleted meanwhile.
    """
    if file.blob_id:
        return file
    with blobs.writer() as writer:
        for chunk in chunks:
            writer.write(chunk)
        if writer.size != _size_of_part(file, number):
            raise refusals.unprocessable("part_size", _("This part of the file has another size."))
        _store_part(file, number, writer.finish().path, writer.size)
    now = _read_again(file)
    if now.blob_id:
        return now
    if len(stored_parts(now)) < _number_of_parts(now):
        return None
    return _complete(now)


def receive_whole(file: File, chunks: Iterable[bytes]) -> File:
    """Store the bytes of an upload that come in one request. Return the complete file."""
    with blobs.writer() as writer:
        for chunk in chunks:
            writer.write(chunk)
        _store_content(file, writer)
    return file


def delete_upload(owner: User, file_id: uuid.UUID | None) -> None:
    """Delete an upload that is not used. Raises the 404 and 409 refusals. The sweep deletes its blob."""
    with transaction.atomic():
        own = File.objects.select_for_update(of=("self",)).filter(owner=owner, run=None)
        found = own.filter(pk=file_id).first() if file_id else None
        if found is None or (found.message and found.message.hidden_at):
            raise refusals.not_found()
        if found.conversation and found.conversation.deleted_at:
            raise refusals.not_found()
        if found.conversation_id or found.message_id:
            raise refusals.Refusal(409, "used", _("A message has this file already."))
        delete_parts(found)
        found.delete()


def sweep_uploads(older_than: timedelta) -> int:
    """Delete unused files that are older, and their parts. Return how many."""
    due = unused(File.objects.filter(created_at__lt=timezone.now() - older_than))
    number = 0
    for pk in list(due.values_list("pk", flat=True)[: blobs.SWEPT_AT_ONCE]):
        with transaction.atomic():
            # Read again under the lock: a question may have it by now.
            locked = unused(File.objects.select_for_update(of=("self",)).filter(pk=pk)).first()
            if locked is None:
                continue
            delete_parts(locked)
            locked.delete()
            number += 1
    return number


def folders_of_parts() -> list[str]:
    """Return the names of the folders with parts: ids of uploads."""
    try:
        folders: list[str] = blobs.storage().listdir(PARTS_FOLDER)[0]
    except FileNotFoundError:  # no part was ever stored
        return []
    return folders


def delete_parts(file: File) -> None:
    """Delete the objects of all parts, then their rows. Call it in a transaction."""
    parts = list(file.parts.select_for_update())
    for part in parts:
        blobs.storage().delete(part_name(file.pk, part.number))
        part.delete()
    if parts:
        blobs.storage().delete(f"{PARTS_FOLDER}/{file.pk}")  # empty, where the storage has folders


def part_name(file_id: uuid.UUID, number: int) -> str:
    return f"{PARTS_FOLDER}/{file_id}/{number}"


# --- parts ----------------------------------------------------------------------------------------


def _number_of_parts(file: File) -> int:
    return -(-file.size // part_bytes())


def _size_of_part(file: File, number: int) -> int:
    """Return the size that a part must have; -1 if there is none of this number."""
    if not 0 <= number < _number_of_parts(file):
        return -1
    return min(part_bytes(), file.size - number * part_bytes())


def _store_part(file: File, number: int, path: Path, size: int) -> None:
    with transaction.atomic():
        # With a lock, or the upload could be deleted or complete before its new row is committed.
        now = File.objects.select_for_update().filter(pk=file.pk).first()
        if now is None:
            raise refusals.not_found()
        if now.blob_id:
            return
        part, _is_new = UploadPart.objects.get_or_create(file=file, number=number, defaults={"size": size})
    with transaction.atomic():
        locked = UploadPart.objects.select_for_update().filter(pk=part.pk).first()
        if locked is None:  # it is complete or deleted
            return
        blobs.write_object(part_name(file.pk, number), path)
        locked.size, locked.stored_at = size, timezone.now()
        locked.save(update_fields=["size", "stored_at"])


# --- completion -----------------------------------------------------------------------------------


def _complete(file: File) -> File:
    """Assemble the parts, in this request or in another one. Raises 503 if it takes too long there."""
    deadline = time.monotonic() + ASSEMBLY_SECONDS
    while not _claim(file):
        file = _read_again(file)
        if file.blob_id:
            return file
        if time.monotonic() > deadline:
            raise refusals.unavailable(_("The file is not complete yet. Send its last part again."))
        time.sleep(ASSEMBLY_CHECK_SECONDS)
    with _claimed(file), blobs.writer() as writer:
        for number in range(_number_of_parts(file)):
            for chunk in _chunks_of_part(file, number):
                writer.write(chunk)
        _store_content(file, writer)
    with transaction.atomic():
        delete_parts(file)
    return file


def _read_again(file: File) -> File:
    """Return the file as it is stored now. Raises the 404 refusal if it was deleted meanwhile."""
    found = File.objects.filter(pk=file.pk).first()
    if found is None:
        raise refusals.not_found()
    return found


def _claim(file: File) -> bool:
    """Return whether this request is the one that assembles the parts."""
    now = timezone.now()
    free = Q(assembling_at=None) | Q(assembling_at__lt=now - timedelta(seconds=ASSEMBLY_SECONDS))
    return bool(File.objects.filter(free, pk=file.pk, blob=None).update(assembling_at=now))


@contextmanager
def _claimed(file: File) -> Iterator[None]:
    """Give the claim back if the block fails, so that the last part can be sent again."""
    try:
        yield
    except BaseException:
        File.objects.filter(pk=file.pk, blob=None).update(assembling_at=None)
        raise


def _chunks_of_part(file: File, number: int) -> Iterator[bytes]:
    with blobs.storage().open(part_name(file.pk, number), "rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


def _store_content(file: File, writer: ContentWriter) -> None:
    """Store what was written as the content of ``file``. Raises the 422 refusal if it has another size."""
    content = writer.finish()
    if content.size != file.size:
        raise refusals.unprocessable("part_size", _("The file has another size than was announced."))
    kind = kinds.kind_of(content.path, file.name)
    file.mime, file.width, file.height = kind.mime, kind.width, kind.height
    try:
        blobs.store(content, file)
    except blobs.FileGone as error:
        raise refusals.not_found() from error
