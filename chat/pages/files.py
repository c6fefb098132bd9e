"""Views of a member's files: their bytes, and thumbnails of pictures."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from chat import refusals
from chat.access import parse_id
from chat.database import run_db
from chat.files import thumbnails
from chat.files.models import File
from chat.files.reading import access_file
from chat.http.event_loop import on_event_loop
from chat.http.file_responses import file_response, thumbnail_response
from chat.http.members import member_of, signed_in_user


@require_safe
def file_bytes(request: HttpRequest, file: str, name: str) -> HttpResponseBase:
    """Send a file. The ``name`` of the address is for readers; the stored one is sent with the bytes."""
    return file_response(request, access_file(signed_in_user(request), parse_id(file)))


@on_event_loop
@login_not_required
@require_safe
async def thumbnail(request: HttpRequest, file: str) -> HttpResponseBase:
    """Send the thumbnail of a picture, which the first request makes."""
    found = await run_db(_accessed, request, file)
    data = await thumbnails.read_thumbnail(found)
    if data is None:
        raise refusals.not_found()
    return thumbnail_response(request, found, data)


def _accessed(request: HttpRequest, file: str) -> File:
    return access_file(member_of(request), parse_id(file))
