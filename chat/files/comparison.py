"""Comparison of the database with the storage of files, in both directions."""

import re
import uuid
from collections.abc import Iterator

from django.conf import settings

from chat.files import blobs
from chat.files.models import Blob, UploadPart
from chat.models import Process

READ_AT_ONCE = 500
_BLOB = re.compile(r"blobs/[0-9a-f]{2}/([0-9a-f]{64})")
_THUMBNAIL = re.compile(r"thumbnails/[0-9a-f]{2}/([0-9a-f]{64})\.webp")
_PART = re.compile(r"parts/([0-9a-f-]{36})/(\d{1,9})")


def missing_objects() -> Iterator[str]:
    """Yield the names of objects that the storage should have, or has with another size."""
    storage = blobs.storage()
    for blob in Blob.objects.filter(stored_at__isnull=False).order_by("pk").iterator(READ_AT_ONCE):
        name = blobs.blob_name(blob.pk)
        is_whole = storage.exists(name) and storage.size(name) == blob.size
        if (
            not is_whole and Blob.objects.filter(pk=blob.pk, stored_at__isnull=False).exists()
        ):  # not swept now
            yield name
        thumbnail = blobs.thumbnail_name(blob.pk)
        if blob.has_thumbnail and not storage.exists(thumbnail) and Blob.objects.filter(pk=blob.pk).exists():
            yield thumbnail


def orphaned_objects() -> Iterator[str]:
    """Yield the names of objects that no row has, without temporary files."""
    for top in ("blobs", "thumbnails", "parts"):
        for name in _names_below(top):
            # A row is deleted after its object, so an object without one is an orphan.
            if not _has_row(name) and blobs.storage().exists(name):
                yield name


def _has_row(name: str) -> bool:
    if found := _BLOB.fullmatch(name) or _THUMBNAIL.fullmatch(name):
        return Blob.objects.filter(pk=found[1]).exists()
    if found := _PART.fullmatch(name):
        try:
            return UploadPart.objects.filter(file=uuid.UUID(found[1]), number=found[2]).exists()
        except ValueError:
            return False
    return False


def _names_below(folder: str) -> Iterator[str]:
    try:
        folders, names = blobs.storage().listdir(folder)
    except FileNotFoundError:
        return
    for name in sorted(names):
        yield f"{folder}/{name}"
    for below in sorted(folders):
        yield from _names_below(f"{folder}/{below}")


def hosts_without_shared_files() -> list[str]:
    """Return the machines of living servers, if there are several and files are in a folder.

    They may share the folder, which no one can see from here.
    """
    if not settings.FILES_ARE_IN_FOLDER or settings.ON_SQLITE:
        return []
    hosts = sorted(set(Process.objects.living().values_list("host", flat=True)))
    return hosts if len(hosts) > 1 else []
