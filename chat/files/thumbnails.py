"""Thumbnails of pictures: made in a rendering process when one is first asked for, and then stored."""

import asyncio
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor

from django.db import transaction

from chat.database import run_db
from chat.files import blobs
from chat.files.kinds import PICTURES
from chat.files.models import Blob, File
from chat.rendering.pool import NotRendered
from chat.rendering.renderer import render_thumbnail

log = logging.getLogger(__name__)

# Made at the same time: the rendering processes have texts to render, too. A thread waits for one of them, or
# for the storage.
_threads = ThreadPoolExecutor(2, thread_name_prefix="thumbnails")


class _NotMade(Exception):
    """A thumbnail was not made for a reason that may pass."""


async def read_thumbnail(file: File) -> bytes | None:
    """Return the thumbnail of a complete file as WebP; None if its kind has none, or it cannot be read."""
    blob, loop = file.blob, asyncio.get_running_loop()
    if blob is None or file.mime not in PICTURES.values() or blob.has_thumbnail is False:
        return None
    if blob.has_thumbnail:
        return await loop.run_in_executor(_threads, _read, blob.pk)
    try:
        data = await loop.run_in_executor(_threads, _make, blob.pk)
    except _NotMade:
        return None
    await run_db(_store, blob.pk, data)
    return data


def _read(sha256: str) -> bytes | None:
    try:
        with blobs.storage().open(blobs.thumbnail_name(sha256), "rb") as source:
            return bytes(source.read())
    except OSError as error:
        log.warning("A thumbnail cannot be read: %s", error)
        return None


def _make(sha256: str) -> bytes | None:
    """Return the thumbnail; None if these bytes have none. Raises _NotMade."""
    try:
        # A rendering process reads a file by its path. Other storages than folders have no paths.
        path = blobs.path_of(sha256)
        if path is not None:
            return render_thumbnail(path)
        with blobs.writer() as writer, blobs.open_blob(sha256) as source:
            shutil.copyfileobj(source, writer, blobs.CHUNK_BYTES)
            return render_thumbnail(writer.finish().path)
    except NotRendered as failure:
        if failure.args[0] == "late":  # that may have been the machine's fault
            raise _NotMade from failure
        return None
    except OSError as error:
        log.warning("A picture cannot be read: %s", error)
        raise _NotMade from error


def _store(sha256: str, data: bytes | None) -> None:
    with blobs.writer() as writer, transaction.atomic():
        # Locked, or the sweep could delete the blob before its thumbnail is there.
        blob = Blob.objects.select_for_update().filter(pk=sha256, stored_at__isnull=False).first()
        if blob is None:
            return
        if data is not None:
            writer.write(data)
            blobs.write_object(blobs.thumbnail_name(sha256), writer.finish().path)
        blob.has_thumbnail = data is not None
        blob.save(update_fields=["has_thumbnail"])
