"""In-process HTTP and WebSocket client: calls the ASGI application and reads its streams."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.middleware.csrf import _get_new_csrf_string

from tests.support.sse_client import SseEvent, SseParser, Wanted, is_last


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


@dataclass
class Exchange:
    """A request in progress."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    parser: SseParser = field(default_factory=SseParser)
    body: bytes = b""
    _chunks: "asyncio.Queue[bytes | None]" = field(default_factory=asyncio.Queue)
    _unread: deque[SseEvent] = field(default_factory=deque)
    _started: asyncio.Event = field(default_factory=asyncio.Event)
    _disconnected: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode().lower(): v.decode() for k, v in message.get("headers", [])}
            self._started.set()
        elif message["type"] == "http.response.body":
            if message.get("body"):
                self._chunks.put_nowait(message["body"])
            if not message.get("more_body"):
                self._chunks.put_nowait(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        while (chunk := await self._chunks.get()) is not None:
            self.body += chunk
            yield chunk

    async def events(self) -> AsyncIterator[SseEvent]:
        """Yield the events that are not read yet, to the end of the stream."""
        while True:
            while self._unread:
                yield self._unread.popleft()
            chunk = await self._chunks.get()
            if chunk is None:
                return
            self.body += chunk
            self._unread.extend(self.parser.feed(chunk))

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
        self._disconnected.set()


class Socket:
    """Client side of a WebSocket."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.received.put_nowait({"type": "websocket.connect"})
        self.sent: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.text: list[str] = []  # every frame as received

    async def take(self, message: dict[str, Any]) -> None:
        self.sent.put_nowait(message)

    async def opened(self) -> "Socket":
        assert (await self._next())["type"] == "websocket.accept"
        return self

    async def refused(self) -> bool:
        """Return whether the handshake is refused."""
        return bool((await self._next())["type"] == "websocket.close")

    async def frame(self, seconds: float = 5) -> dict[str, Any]:
        """Return the next frame."""
        message = await self._next(seconds)
        assert message["type"] == "websocket.send", message
        self.text.append(message["text"])
        found: dict[str, Any] = json.loads(message["text"])
        return found

    async def frames(self, number: int) -> list[dict[str, Any]]:
        return [await self.frame() for _ in range(number)]

    async def closed(self, seconds: float = 5) -> int:
        """Read frames until the server closes the socket; return the close code."""
        while (message := await self._next(seconds))["type"] != "websocket.close":
            self.text.append(message.get("text", ""))
        return int(message["code"])

    async def silent(self, seconds: float = 0.3) -> bool:
        """Return True if no message comes in this time; fail if one does."""
        try:
            async with asyncio.timeout(seconds):
                message = await self.sent.get()
        except TimeoutError:
            return True
        raise AssertionError(f"received: {message}")

    def say(self, text: str) -> None:
        self.received.put_nowait({"type": "websocket.receive", "text": text})

    async def _next(self, seconds: float = 5) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            message = await self.sent.get()
        assert message is not None, "the socket's application has ended"
        return message


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
        exchange = Exchange()
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await exchange._disconnected.wait()
            return {"type": "http.disconnect"}

        task = asyncio.ensure_future(self.application(scope, receive, exchange.send))
        try:
            started = asyncio.ensure_future(exchange._started.wait())
            await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            if task.done() and not exchange._started.is_set():
                task.result()
            yield exchange
        finally:
            exchange.hang_up()
            await asyncio.wait({task}, timeout=10)

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
        route, _, query = path.partition("?")
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "path": route,
            "raw_path": route.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.encode(), v.encode()) for k, v in sent.items()],
            "client": ["127.0.0.1", 1],
            "server": ["testserver", 80],
            "subprotocols": [],
        }
        socket = Socket()
        task = asyncio.ensure_future(self.application(scope, socket.received.get, socket.take))
        task.add_done_callback(lambda _task: socket.sent.put_nowait(None))
        try:
            yield socket
        finally:
            socket.received.put_nowait({"type": "websocket.disconnect", "code": 1001})
            await asyncio.wait({task}, timeout=10)
            assert task.done(), "the socket's application is still running"
            task.result()

    async def get(self, path: str, **kwargs: Any) -> Answer:
        return await self.request("GET", path, **kwargs)

    async def post(self, path: str, json_body: Any = None, **kwargs: Any) -> Answer:
        return await self.request("POST", path, json_body=json_body, **kwargs)

    async def ask(self, query: str, **fields: Any) -> list[SseEvent]:
        """Ask a question and read the stream to its end."""
        answer = await self.post("/chat/stream", {"query": query, **fields})
        assert answer.status == 200, answer.body
        return answer.events
