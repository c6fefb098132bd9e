"""In-process HTTP and WebSocket client: calls the ASGI application and reads its streams."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode

from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.middleware.csrf import _get_new_csrf_string

from tests.support.sse_client import SseEvent, SseParser, Wanted, is_last

SECONDS_MAX = 100  # between two messages of a response; below the time-out of pytest


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def events(self) -> list[SseEvent]:
        return SseParser().feed(self.body)


class Exchange(ApplicationCommunicator):
    """A request in progress."""

    def __init__(self, application: Any, scope: dict[str, Any]) -> None:
        super().__init__(application, scope)
        self.status, self.headers, self.body = 0, dict[str, str](), b""
        self.parser = SseParser()
        self._more = True
        self._unread: deque[SseEvent] = deque()

    async def start(self, body: bytes) -> None:
        """Send the request and wait for the first part of the response."""
        await self.send_input({"type": "http.request", "body": body, "more_body": False})
        message = await self.receive_output(SECONDS_MAX)
        self.status = message["status"]
        self.headers = {k.decode().lower(): v.decode() for k, v in message.get("headers", [])}

    async def chunks(self) -> AsyncIterator[bytes]:
        while self._more:
            message = await self.receive_output(SECONDS_MAX)
            self._more = message.get("more_body", False)
            if chunk := message.get("body"):
                self.body += chunk
                yield chunk

    async def events(self) -> AsyncIterator[SseEvent]:
        """Yield the events that are not read yet, to the end of the stream."""
        while self._unread:
            yield self._unread.popleft()
        async for chunk in self.chunks():
            self._unread.extend(self.parser.feed(chunk))
            while self._unread:
                yield self._unread.popleft()

    async def until(self, wanted: Wanted) -> list[SseEvent]:
        """Return the unread events up to the wanted one; fail if the stream ends before it."""
        seen: list[SseEvent] = []
        async for event in self.events():
            seen.append(event)
            if is_last(wanted, seen):
                return seen
        raise AssertionError(f"no {wanted!r} in {seen}")

    async def all_events(self) -> list[SseEvent]:
        return [event async for event in self.events()]

    def hang_up(self) -> None:
        self.input_queue.put_nowait({"type": "http.disconnect"})


class Socket(WebsocketCommunicator):
    """Client side of a WebSocket."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.text: list[str] = []  # every frame as received

    async def opened(self) -> "Socket":
        assert (await self.connect(5))[0]
        return self

    async def refused(self) -> bool:
        """Return whether the handshake is refused."""
        return not (await self.connect(5))[0]

    async def frame(self, seconds: float = 5) -> dict[str, Any]:
        """Return the next frame."""
        self.text.append(await self.receive_from(seconds))
        found: dict[str, Any] = json.loads(self.text[-1])
        return found

    async def frames(self, number: int) -> list[dict[str, Any]]:
        return [await self.frame() for _ in range(number)]

    async def closed(self, seconds: float = 5) -> int:
        """Read frames until the server closes the socket; return the close code."""
        while (message := await self.receive_output(seconds))["type"] != "websocket.close":
            self.text.append(message.get("text", ""))
        return int(message["code"])

    async def silent(self, seconds: float = 0.3) -> bool:
        """Return whether no message comes in this time."""
        return await self.receive_nothing(seconds) and not self.future.done()

    def say(self, text: str) -> None:
        self.input_queue.put_nowait({"type": "websocket.receive", "text": text})


class Client:
    """The browser of ``user``, or of an anonymous visitor."""

    def __init__(self, application: Any, user: Any = None) -> None:
        self.application = application
        self.user = user
        self.cookies: dict[str, str] = {}
        self.csrf = _get_new_csrf_string()
        self.cookies[settings.CSRF_COOKIE_NAME] = self.csrf

    async def sign_in(self) -> "Client":
        def start() -> str:
            session = SessionStore()
            session[SESSION_KEY] = str(self.user.pk)
            session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
            session[HASH_SESSION_KEY] = self.user.get_session_auth_hash()
            session.save()
            if not connection.in_atomic_block:
                connection.close()  # the thread stays, and its connection would block DROP DATABASE
            return str(session.session_key)

        self.cookies[settings.SESSION_COOKIE_NAME] = await sync_to_async(start)()
        return self

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        json_body: Any = None,
        form: dict[str, str] | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        csrf: bool = True,
    ) -> AsyncIterator[Exchange]:
        """Start a request; leaving the block disconnects."""
        sent = {"host": "testserver", "cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if csrf and method not in ("GET", "HEAD", "OPTIONS"):
            sent["x-csrftoken"] = self.csrf
        if json_body is not None:
            body, sent["content-type"] = json.dumps(json_body).encode(), "application/json"
        elif form is not None:
            body, sent["content-type"] = urlencode(form).encode(), "application/x-www-form-urlencoded"
        body = body or b""
        sent["content-length"] = str(len(body))
        sent |= {k.lower(): v for k, v in (headers or {}).items()}
        route, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": unquote(route),
            "raw_path": route.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "http",
            "headers": [(k.encode(), v.encode("utf-8", "surrogateescape")) for k, v in sent.items()],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
        }
        exchange = Exchange(self.application, scope)
        try:
            await exchange.start(body)
            yield exchange
        finally:
            exchange.hang_up()
            await asyncio.wait({exchange.future}, timeout=10)

    async def request(self, method: str, path: str, **kwargs: Any) -> Answer:
        """Send a request and return its complete response."""
        async with self.open(method, path, **kwargs) as exchange:
            async for _chunk in exchange.chunks():
                pass
            return Answer(exchange.status, exchange.headers, exchange.body)

    @asynccontextmanager
    async def socket(
        self, path: str = "/ws/", *, headers: dict[str, str] | None = None
    ) -> AsyncIterator["Socket"]:
        """Open a WebSocket as a page does; leaving the block disconnects."""
        sent = {"host": "testserver", "origin": "http://testserver"}
        sent |= {"cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())} | (headers or {})
        socket = Socket(self.application, path, [(k.encode(), v.encode()) for k, v in sent.items()])
        try:
            yield socket
        finally:
            await socket.disconnect(1001, timeout=10)

    async def get(self, path: str, **kwargs: Any) -> Answer:
        return await self.request("GET", path, **kwargs)

    async def post(self, path: str, json_body: Any = None, **kwargs: Any) -> Answer:
        return await self.request("POST", path, json_body=json_body, **kwargs)

    async def ask(self, query: str, **fields: Any) -> list[SseEvent]:
        """Ask a question and read the stream to its end."""
        answer = await self.post("/chat/stream", {"query": query, **fields})
        assert answer.status == 200, answer.body
        return answer.events
