"""ASGI wrapper of each request and socket: request id, line in the log, counts."""

import logging
import re
import secrets
import time
from typing import Any

from django.conf import settings

from chat.instruments import logs, metrics

log = logging.getLogger(__name__)

HEADER = b"x-request-id"
# A proxy may have given the request an id. Any other value of the header is ignored.
SAFE_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
QUIET = {"/healthz", "/readyz", "/metrics"}  # polled every few seconds


class Exchanges:
    """ASGI application that gives each request an ``X-Request-ID``, and logs one line after the answer."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            with metrics.open_sockets_gauge.one_more():
                await self.application(scope, receive, send)
        else:
            await self.application(scope, receive, send)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        info = logs.RequestInfo(_id_of(scope["headers"]))
        began, status, size = time.monotonic(), 0, 0

        async def counted(message: dict[str, Any]) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (HEADER, info.id.encode())]
            else:
                size += len(message.get("body", b""))
            await send(message)

        with logs.request_context(info):
            try:
                await self.application(scope, receive, counted)
            finally:
                # no status: the client left before the answer
                metrics.responses.count(f"{status // 100}xx" if status else "none")
                if scope["path"] not in QUIET and not scope["path"].startswith(settings.STATIC_URL):
                    _log(scope["method"], info, status, size, time.monotonic() - began)


def _id_of(headers: list[tuple[bytes, bytes]]) -> str:
    given = [value for name, value in headers if name == HEADER]
    if len(given) == 1 and SAFE_ID.fullmatch(given[0]):
        return given[0].decode()
    return secrets.token_hex(8)


def _log(method: str, info: logs.RequestInfo, status: int, size: int, seconds: float) -> None:
    info.release()
    fields = {
        "method": method if method in METHODS else "other",
        "route": info.route,
        "status": status,
        "duration_ms": round(seconds * 1000),
        "bytes": size,
        "member": info.member,
    }
    log.info(
        "%(method)s /%(route)s %(status)d, %(bytes)d bytes in %(duration_ms)d ms",
        fields,
        extra={"fields": fields},
    )
