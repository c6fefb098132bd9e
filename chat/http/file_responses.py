"""Responses with the bytes of a stored file: streamed, in ranges, and never as a page of this site."""

import asyncio
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _

from chat import refusals
from chat.files import blobs
from chat.files.kinds import PDF, PICTURES, PLAYED, UNKNOWN
from chat.files.models import File
from chat.files.names import clean_name

SENT_BYTES = 64 * 1024  # a quarter of what a connection may buffer (UNSENT_MAX_BYTES)
SANDBOXED = "sandbox; default-src 'none'"
# A browser's own viewer of PDF needs its styles, and shows nothing in a sandbox.
PDF_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
# Others, such as SVG and HTML, could run scripts of their author on this site.
SHOWN_TYPES = {*PICTURES.values(), *PLAYED.values(), PDF}
RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
# A request's thread is free once the headers are sent, and the loop must not wait for a disk.
_readers = ThreadPoolExecutor(4, thread_name_prefix="files")


def file_response(request: HttpRequest, file: File) -> HttpResponseBase:
    """Return the bytes of a complete file, or the range of them that is asked for.

    Pictures, audio, video and PDF are shown; all else is downloaded. Raises the 503 refusal if the storage
    cannot be read.
    """
    assert file.blob_id
    shown = file.mime in SHOWN_TYPES
    answer = HttpResponse(content_type=file.mime if shown else UNKNOWN)
    answer["Content-Disposition"] = content_disposition_header(not shown, clean_name(file.name)) or ""
    answer["Content-Security-Policy"] = PDF_POLICY if file.mime == PDF else SANDBOXED
    answer["Accept-Ranges"] = "bytes"
    answer["ETag"] = f'"{file.blob_id}"'
    _keep_private(answer)
    conditional = get_conditional_response(request, etag=answer["ETag"], response=answer)
    if conditional is not None and conditional is not answer:
        return conditional
    first, length = _asked_range(request, answer, file.size)
    answer["Content-Length"] = str(length)
    if request.method == "HEAD" or not length:
        return answer
    source = _open(file)
    source.seek(first)
    streamed = StreamingHttpResponse(_chunks(source, length), status=answer.status_code)
    streamed.headers = answer.headers
    streamed._resource_closers.append(source.close)  # type: ignore[attr-defined]
    return streamed


def thumbnail_response(request: HttpRequest, file: File, data: bytes) -> HttpResponseBase:
    """Return the thumbnail of a file's picture."""
    answer = HttpResponse(data, content_type="image/webp")
    answer["Content-Security-Policy"] = SANDBOXED
    answer["ETag"] = f'"{file.blob_id}-thumbnail"'
    _keep_private(answer)
    return get_conditional_response(request, etag=answer["ETag"], response=answer) or answer


def _keep_private(answer: HttpResponseBase) -> None:
    # no-cache: a copy is shown only after this server has said again that the member may read it.
    answer["Cache-Control"] = "private, no-cache"
    answer["Cross-Origin-Resource-Policy"] = "same-origin"


def _asked_range(request: HttpRequest, answer: HttpResponse, size: int) -> tuple[int, int]:
    """Return the first byte and the number of bytes to send, and describe them in ``answer``.

    Several ranges, and a malformed one, are answered with the whole file, as RFC 9110 allows.
    """
    found = RANGE.fullmatch(request.headers.get("Range", "").strip())
    if not found or request.headers.get("If-Range", answer["ETag"]) != answer["ETag"]:
        return 0, size
    begin, end = found.groups()
    if not begin and not end:
        return 0, size
    first = int(begin) if begin else max(0, size - int(end))
    last = min(int(end), size - 1) if begin and end else size - 1
    if begin and end and int(end) < int(begin):
        return 0, size
    if first > last:
        answer.status_code = 416
        answer["Content-Range"] = f"bytes */{size}"
        return 0, 0
    answer.status_code = 206
    answer["Content-Range"] = f"bytes {first}-{last}/{size}"
    return first, last - first + 1


def _open(file: File) -> IO[bytes]:
    assert file.blob_id
    try:
        return blobs.open_blob(file.blob_id)
    except OSError as error:
        raise refusals.unavailable(_("The bytes of this file cannot be read at the moment.")) from error


async def _chunks(source: IO[bytes], length: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    while length > 0:
        chunk = await loop.run_in_executor(_readers, source.read, min(SENT_BYTES, length))
        if not chunk:
            return
        length -= len(chunk)
        yield chunk
