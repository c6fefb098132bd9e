"""ASGI application: Django over HTTP, and the WebSocket."""

import asyncio
import logging
import os
from typing import Any

from asgiref.sync import SyncToAsync, sync_to_async
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.handlers.asgi import ASGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup(set_prefix=False)

from django.db import InterfaceError, OperationalError, connections  # noqa: E402  (needs the set-up)

from chat.http.exchanges import Exchanges  # noqa: E402
from chat.instruments import logs  # noqa: E402
from chat.pages import letters  # noqa: E402, F401  (the supervisor gets its duty)
from chat.runs.supervisor import supervisor  # noqa: E402
from chat.socket.routing import websocket_urlpatterns  # noqa: E402

log = logging.getLogger(__name__)

PROBES = ("/healthz", "/readyz")


class StreamingASGIHandler(ASGIHandler):
    """Handler that releases a stream's thread and database connection before its first byte.

    Django keeps both until the response ends: 600 idle streams took 601 threads and 598 connections,
    217 KiB each; with this, 1 thread and 49 KiB. Uses two attributes of asgiref 3.13's SyncToAsync;
    tests/stream/test_streams_are_cheap.py fails if an upgrade removes them.
    """

    def create_request(self, scope: Any, body_file: Any) -> Any:
        request, refused = super().create_request(scope, body_file)
        logs.set_request(request)
        return request, refused

    async def send_response(self, response: Any, send: Any) -> None:
        if response.streaming:
            await sync_to_async(connections.close_all)()
            _release_thread()
        await super().send_response(response, send)


async def _start_supervisor() -> None:
    """Start the supervisor, unless ``manage.py serve`` has done so; other ASGI servers start it here."""
    try:
        await supervisor.start()
    except (OperationalError, InterfaceError) as error:
        # Requests that need the database answer 503 themselves; /healthz does not need it.
        log.warning("The supervisor could not start: the database did not answer: %s", error)


def _release_thread() -> None:
    """End the thread that runs this request's synchronous code, if it has one."""
    context = SyncToAsync.thread_sensitive_context.get(None)
    executor = SyncToAsync.context_to_thread_executor.pop(context, None) if context else None
    if executor:
        executor.shutdown(wait=False)


_router = ProtocolTypeRouter({"http": StreamingASGIHandler(), "websocket": URLRouter(websocket_urlpatterns)})


async def _start_and_route(scope: Any, receive: Any, send: Any) -> None:
    start = asyncio.ensure_future(_start_supervisor())
    if scope.get("path") not in PROBES:  # probes answer while it starts
        await start
    await _router(scope, receive, send)


application = Exchanges(_start_and_route)
