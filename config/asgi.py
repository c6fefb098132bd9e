"""ASGI application: Django over HTTP, and the WebSocket."""

import asyncio
import logging
import os
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup(set_prefix=False)

from django.db import InterfaceError, OperationalError  # noqa: E402  (needs the set-up)

from chat.http.exchanges import Exchanges  # noqa: E402
from chat.pages import letters  # noqa: E402, F401  (the supervisor gets its duty)
from chat.runs.supervisor import supervisor  # noqa: E402
from chat.socket.routing import websocket_urlpatterns  # noqa: E402
from config.handler import Handler  # noqa: E402

log = logging.getLogger(__name__)

PROBES = ("/healthz", "/readyz")


async def _start_supervisor() -> None:
    """Start the supervisor, unless ``manage.py serve`` has done so; other ASGI servers start it here."""
    try:
        await supervisor.start()
    except (OperationalError, InterfaceError) as error:
        # Requests that need the database answer 503 themselves; /healthz does not need it.
        log.warning("The supervisor could not start: the database did not answer: %s", error)


_router = ProtocolTypeRouter({"http": Handler(), "websocket": URLRouter(websocket_urlpatterns)})


async def _start_and_route(scope: Any, receive: Any, send: Any) -> None:
    if not supervisor.has_started:
        start = asyncio.ensure_future(_start_supervisor())
        if scope.get("path") not in PROBES:  # probes answer while it starts
            await start
    await _router(scope, receive, send)


application = Exchanges(_start_and_route)
