"""Each request as it comes and goes: its id, its line in the log, the sockets that are open."""

import logging
import re
import secrets
import time
from typing import Any

from django.conf import settings

from chat.instruments import logs, metrics

log = logging.getLogger(__name__)

HEADER = b"x-request-id"
# Whoever stands before us may have named the request; what else comes in the header is not repeated.
SAFE_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
QUIET = {"/healthz", "/readyz", "/metrics"}  # asked every few seconds, by machines


class Exchanges:
    """ASGI: names each request, says so in ``X-Request-ID``, and logs one line when it has been answered."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            with metrics.open_sockets.one_more():
                await self.application(scope, receive, send)
        else:
            await self.application(scope, receive, send)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        note = logs.Note(_id_of(scope["headers"]))
        began, status, size = time.monotonic(), 0, 0

        async def counted(message: dict[str, Any]) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (HEADER, note.id.encode())]
            else:
                size += len(message.get("body", b""))
            await send(message)

        with logs.answering(note):
            try:
                await self.application(scope, receive, counted)
            finally:
                # no status: the client went away before there was an answer
                metrics.responses.count(f"{status // 100}xx" if status else "none")
                if scope["path"] not in QUIET and not scope["path"].startswith(settings.STATIC_URL):
                    _log(scope["method"], note, status, size, time.monotonic() - began)


def _id_of(headers: list[tuple[bytes, bytes]]) -> str:
    given = [value for name, value in headers if name == HEADER]
    if len(given) == 1 and SAFE_ID.fullmatch(given[0]):
        return given[0].decode()
    return secrets.token_hex(8)


def _log(method: str, note: logs.Note, status: int, size: int, seconds: float) -> None:
    fields = {
        "method": method if method in METHODS else "other",
        "route": logs.route_of(note.request),
        "status": status,
        "duration_ms": round(seconds * 1000),
        "bytes": size,
        "member": _member_of(note.request),
    }
    log.info(
        "%(method)s /%(route)s %(status)d, %(bytes)d bytes in %(duration_ms)d ms",
        fields,
        extra={"fields": fields},
    )


def _member_of(request: Any) -> str:
    """Who was looked up while the request was answered (Django keeps it so); nobody is for the log."""
    user = getattr(request, "_cached_user", None)
    return str(user.pk) if user is not None and user.pk is not None else ""
