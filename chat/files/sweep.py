"""Sweep of files: what no row refers to leaves the storage, in small steps."""

import time
import uuid
from contextlib import suppress
from datetime import timedelta

from django.conf import settings
from django.db import transaction

from chat.files import blobs, uploads
from chat.files.models import File
from chat.files.uploads import PARTS_FOLDER

UNUSED_KEPT = timedelta(hours=24)  # uploads that no question has
TEMPORARY_SECONDS = 24 * 3600.0  # longer than any request and any run


def sweep_step() -> int:
    """Do one step of the sweep; return how many files, uploads and blobs it deleted: 0 at its end."""
    return (
        uploads.sweep_uploads(UNUSED_KEPT)
        + _sweep_leftover_parts()
        + _sweep_lost_parts()
        + blobs.sweep_some()
    )


def sweep_temporary_files() -> None:
    """Delete this machine's temporary files that no process has finished."""
    oldest = time.time() - TEMPORARY_SECONDS
    with suppress(FileNotFoundError):
        for path in settings.FILES_TEMP_DIR.iterdir():
            with suppress(FileNotFoundError):  # its process deletes it in this moment
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _sweep_leftover_parts() -> int:
    """Delete the parts of complete files: their process died before it did."""
    left = File.objects.filter(blob__isnull=False, parts__isnull=False).distinct()[: blobs.SWEPT_AT_ONCE]
    for file in left:
        with transaction.atomic():
            uploads.delete_parts(file)
    return len(left)


def _sweep_lost_parts() -> int:
    """Delete the parts of uploads whose rows are gone: those of an erased account leave with it."""
    swept = 0
    for folder in uploads.folders_of_parts():
        if swept >= blobs.SWEPT_AT_ONCE:
            break
        try:
            file_id = uuid.UUID(folder)
        except ValueError:  # not Parley's
            continue
        # No object is written after its row is gone.
        if not File.objects.filter(pk=file_id, blob=None).exists():
            storage = blobs.storage()
            for name in storage.listdir(f"{PARTS_FOLDER}/{folder}")[1]:
                storage.delete(f"{PARTS_FOLDER}/{folder}/{name}")
            storage.delete(f"{PARTS_FOLDER}/{folder}")
            swept += 1
    return swept
