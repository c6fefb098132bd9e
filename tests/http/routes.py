"""Routes for tests/http/test_handler.py, beside Parley's own."""

import asyncio
import threading
import time
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import OperationalError
from django.http import HttpRequest, JsonResponse
from django.urls import path

from chat.http.event_loop import RedirectAfter, on_event_loop
from config.urls import handler404, handler500, urlpatterns

__all__ = ["handler404", "handler500", "urlpatterns"]


@login_not_required
def on_thread(request: HttpRequest) -> JsonResponse:
    time.sleep(0.05)
    return JsonResponse({"thread": threading.current_thread().name})


@on_event_loop
@login_not_required
async def on_loop(request: HttpRequest) -> JsonResponse:
    await asyncio.sleep(0)
    return JsonResponse({"thread": threading.current_thread().name})


@on_event_loop
@login_not_required
def at_once(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"thread": threading.current_thread().name})


@login_not_required
async def unmarked(request: HttpRequest) -> Any:
    return JsonResponse({})


async def lose_the_database() -> None:
    raise OperationalError("away")


@login_not_required
def redirect_after(request: HttpRequest) -> RedirectAfter:
    return RedirectAfter("/elsewhere/", lose_the_database)


urlpatterns = [
    path("test/redirect-after", redirect_after),
    path("test/thread", on_thread),
    path("test/loop", on_loop),
    path("test/at-once", at_once),
    *urlpatterns,
]
