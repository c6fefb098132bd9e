"""ZIP files that are written while they are sent: memory holds one piece of one file, and the directory."""

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import tzinfo
from io import RawIOBase
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from django.utils import timezone

from chat.database import run_db
from chat.files import blobs
from chat.files.kinds import PICTURES, PLAYED
from chat.files.models import File
from chat.files.names import clean_name

log = logging.getLogger(__name__)

# Their own compression leaves nothing for another one.
COMPRESSED = {*PICTURES.values(), *PLAYED.values()}


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """File in a ZIP. Its parts are read one after another, on a thread that may use the database."""

    name: str
    parts: Iterator[str] | Iterator[bytes]
    is_deflated: bool = True


class _Buffer(RawIOBase):
    """File that a ZipFile can only append to, and that is emptied after each step."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def drain(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


async def zip_chunks(entries: Iterator[ZipEntry], zone: tzinfo) -> AsyncIterator[bytes]:
    """Yield the bytes of a ZIP with these entries; their times are now, in ``zone``."""
    steps = _steps(entries, zone)
    while (step := await run_db(next, steps, None)) is not None:
        if step:
            yield step


def _steps(entries: Iterator[ZipEntry], zone: tzinfo) -> Iterator[bytes]:
    buffer = _Buffer()
    now = timezone.localtime(timezone=zone)
    with ZipFile(buffer, "w") as archived:
        for entry in entries:
            info = ZipInfo(entry.name, now.timetuple()[:6])
            info.compress_type = ZIP_DEFLATED if entry.is_deflated else ZIP_STORED
            with archived.open(info, "w", force_zip64=True) as file:  # its size is not known yet
                for part in entry.parts:
                    file.write(part.encode() if isinstance(part, str) else part)
                    yield buffer.drain()
    yield buffer.drain()


def zip_name(file: str, name: str) -> str:
    """Return the name that a stored file has in a ZIP, by its id and its own name."""
    return f"files/{file}/{clean_name(name)}"


def file_entry(file: File) -> ZipEntry | None:
    """Return the entry of a complete file; None if the storage cannot be read."""
    assert file.blob_id
    try:
        source = blobs.open_blob(file.blob_id)
    except OSError as error:
        log.warning("The file %s is left out of a ZIP: %s", file.pk, error)
        return None

    def parts() -> Iterator[bytes]:
        with source:
            while chunk := source.read(blobs.CHUNK_BYTES):
                yield chunk

    return ZipEntry(zip_name(str(file.pk), file.name), parts(), is_deflated=file.mime not in COMPRESSED)
