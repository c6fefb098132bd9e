"""Time zone of a browser, in a cookie that the page's script stores: pages show local dates."""

import zoneinfo
from collections.abc import Callable
from functools import cache
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.decorators import sync_and_async_middleware
from pydantic_core import PydanticCustomError

COOKIE = "parley_time_zone"

# Its names come from files of the operating system and of the package tzdata: 600 files, read once. A name
# that is looked up directly would be a path.
_names = cache(zoneinfo.available_timezones)


def time_zone_name(value: str) -> str:
    """Return ``value`` if it names a time zone; otherwise raise pydantic's error."""
    if value not in _names():
        raise PydanticCustomError("time_zone", "not a time zone")
    return value


@sync_and_async_middleware
def activate_time_zone(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Middleware that renders pages in the browser's time zone. Without a cookie it is TIME_ZONE."""

    async def middleware_async(request: HttpRequest) -> Any:
        with timezone.override(_zone_of(request)):
            return await get_response(request)

    def middleware(request: HttpRequest) -> Any:
        with timezone.override(_zone_of(request)):
            return get_response(request)

    return middleware_async if iscoroutinefunction(get_response) else middleware


def _zone_of(request: HttpRequest) -> zoneinfo.ZoneInfo | None:
    name = request.COOKIES.get(COOKIE, "")
    return zoneinfo.ZoneInfo(name) if name in _names() else None
