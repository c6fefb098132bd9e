"""Daphne with back-pressure, limits on what clients send, and an orderly start and shutdown."""

import asyncio
import functools
import gc
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any, Protocol

from daphne import server
from django.conf import settings
from django.contrib.auth import get_backends
from django.db import DatabaseError, InterfaceError
from django.template import engines
from django.template.loader import get_template, render_to_string
from django.utils.formats import get_format
from twisted.internet import defer, reactor
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from chat.instruments import metrics
from config.inbound import Factory, Inbox, Request, SocketProtocol

log = logging.getLogger(__name__)

# Time for streams to send their last frames, and for other requests to finish, after the last run has ended.
LAST_RESPONSES_SECONDS = 2.0
# Bytes of a socket message. Clients need to send none; the socket consumer accepts still less.
SOCKET_MESSAGE_MAX = 4096
# From a socket's request to its acceptance, in the application alone. After a restart all tabs reconnect at
# the same time; with Daphne's 5 s, hundreds were closed again, to try once more.
SOCKET_HANDSHAKE_SECONDS = 30


class Lifecycle(Protocol):
    """Service that starts and stops with the server."""

    async def start(self) -> None: ...
    async def drain(self) -> None: ...
    def hand_over(self) -> None: ...
    async def shut_down(self) -> None: ...


@implementer(IPushProducer)
class Backpressure:
    """Push producer that knows whether a connection's buffer takes more.

    Daphne itself writes without asking: one client that stopped reading took 752 MB in a second.
    """

    __slots__ = ("_resumed",)

    def __init__(self) -> None:
        self._resumed: asyncio.Event | None = None  # only while it is paused: an Event takes 1 KiB

    def pauseProducing(self) -> None:
        self._resumed = self._resumed or asyncio.Event()

    def resumeProducing(self) -> None:
        if self._resumed:
            self._resumed.set()
        self._resumed = None

    def stopProducing(self) -> None:
        self.resumeProducing()

    @property
    def is_paused(self) -> bool:
        return self._resumed is not None

    async def wait_until_writable(self, seconds: float) -> bool:
        """Wait until the connection takes more; return False if it takes nothing for that long."""
        if self._resumed is None:
            return True
        try:
            async with asyncio.timeout(seconds):
                while self._resumed:
                    await self._resumed.wait()
        except TimeoutError:
            return False
        return True


class Server(server.Server):
    """Server of ``application`` that starts ``life`` before it serves and stops it at the end.

    Calls ``on_ready`` when it serves. If it cannot, ``failure`` holds the reason afterwards.
    """

    def __init__(self, *args: Any, life: Lifecycle, on_ready: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(
            *args,
            signal_handlers=False,
            websocket_max_message_size=SOCKET_MESSAGE_MAX,
            websocket_max_frame_size=SOCKET_MESSAGE_MAX,
            websocket_handshake_timeout=SOCKET_HANDSHAKE_SECONDS,
            **kwargs,
        )
        self.life = life
        self.on_ready = on_ready
        self.failure = ""
        self._ending = False
        self._backpressure: dict[Any, Backpressure] = {}
        metrics.unsent_bytes.read = self.unsent_bytes
        metrics.paused_connections.read = lambda: sum(each.is_paused for each in self._backpressure.values())

    @property
    def http_factory(self) -> Factory:
        return self._factory

    @http_factory.setter
    def http_factory(self, daphnes: Any) -> None:
        """Set Parley's factory instead: Daphne's ``run`` creates its own by name, without a hook."""
        self._factory = Factory(self)

    @property
    def ws_factory(self) -> Any:
        return self._ws_factory

    @ws_factory.setter
    def ws_factory(self, daphnes: Any) -> None:
        daphnes.protocol = SocketProtocol
        self._ws_factory = daphnes

    # --- start and end ------------------------------------------------------------------------

    def run(self) -> None:
        reactor.callWhenRunning(lambda: asyncio.ensure_future(self._start()))
        super().run()

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        try:
            await asyncio.to_thread(_warm_pages)
            await self.life.start()
        except (DatabaseError, InterfaceError) as error:
            self._fail(f"The database cannot be used: {' '.join(str(error).split())}")
        except Exception:
            log.exception("Parley could not start")
            self._fail("Parley could not start; the lines above say why.")
        else:
            # What is loaded by now stays. Without this, each full collection walks it: 0.2 to 0.3 s in which
            # the process stands still. (Agents that a reload replaces are kept, too: some megabytes.)
            gc.collect()
            gc.freeze()
            self.on_ready()

    def _on_signal(self) -> None:
        if self._ending:
            self.life.hand_over()
            return
        self._ending = True
        log.info(
            "Ending. Replies under way have %g s to finish; a second signal hands them over.",
            settings.DRAIN_SECONDS,
        )
        self.stop()

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        # Connections inherit this size. By default the kernel buffers 4 MB for a client that stopped reading.
        port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.UNSENT_MAX_BYTES // 4)

    def listen_error(self, failure: Any) -> None:
        self._fail(failure.getErrorMessage())

    def _fail(self, why: str) -> None:
        self.failure = why
        self.stop()

    def kill_all_applications(self) -> Any:
        """Stop the applications after the runs have ended; Daphne's own method cuts every stream."""
        return defer.Deferred.fromFuture(asyncio.ensure_future(self._shut_down()))

    async def _shut_down(self) -> None:
        self._ending = True
        try:
            await self.life.drain()
            await self._wait_for_responses()
            await self.life.shut_down()
        except Exception:
            log.exception("The server could not end in order")
        for protocol, details in list(self.connections.items()):
            if "application_instance" not in details:  # an incomplete request, on which Daphne would fail
                del self.connections[protocol]
        await super().kill_all_applications().asFuture(asyncio.get_running_loop())

    async def _wait_for_responses(self) -> None:
        applications = [
            d["application_instance"] for d in self.connections.values() if "application_instance" in d
        ]
        if applications:
            await asyncio.wait(applications, timeout=LAST_RESPONSES_SECONDS)

    # --- messages from clients ----------------------------------------------------------------

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Inbox | None:
        """Start the application as Daphne does, but with an Inbox. Return None if the client has gone."""
        if protocol not in self.connections:
            return None
        inbox = Inbox()
        scope.setdefault("asgi", {"version": "3.0"})
        work = self.application(
            scope=scope, receive=inbox.get, send=functools.partial(self.handle_reply, protocol)
        )
        self.connections[protocol]["application_instance"] = asyncio.ensure_future(work)
        return inbox

    # --- back-pressure ------------------------------------------------------------------------

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if await self._wait_until_writable(protocol, message):
            await super().handle_reply(protocol, message)
            if message.get("more_body"):
                protocol.release_headers()

    async def _wait_until_writable(self, protocol: Any, message: dict[str, Any]) -> bool:
        """Wait until the client takes more; return False, and close, if it takes nothing for too long."""
        if _is_gone(protocol):
            return False
        if message["type"] in FIRST_MESSAGES:
            backpressure = self._backpressure[protocol] = Backpressure()
            if message["type"] == "websocket.accept":
                protocol.unregisterProducer()  # the HTTP channel's, from before the upgrade
            protocol.registerProducer(backpressure, True)
        elif protocol in self._backpressure:
            if not await self._backpressure[protocol].wait_until_writable(settings.STALL_SECONDS):
                log.info("A reader took nothing for %g s and was closed", settings.STALL_SECONDS)
                _abort(protocol)
                return False
            if _is_last(message) and protocol in self._backpressure:
                del self._backpressure[protocol]
                protocol.unregisterProducer()
        return True

    def unsent_bytes(self) -> int:
        """Return the bytes that streams and sockets buffer in this process for slow readers.

        The kernel's buffers are not counted.
        """
        # Twisted has no public way to read this: it is in three attributes.
        transports = [_transport(protocol) for protocol in self._backpressure if not _is_gone(protocol)]
        return sum(len(each.dataBuffer) - each.offset + each._tempDataLen for each in transports)

    def protocol_disconnected(self, protocol: Any) -> None:
        self._backpressure.pop(protocol, None)
        super().protocol_disconnected(protocol)


def _warm_pages() -> None:
    """Load what the first page needs: authentication backends, formats, templates and icons."""
    get_backends()
    get_format("DATE_FORMAT", lang=settings.LANGUAGE_CODE)
    _ = engines["django"].engine.template_context_processors  # type: ignore[attr-defined]
    render_to_string("404.html")
    for name in ("chat/page.html", "account/login.html"):
        get_template(name)


FIRST_MESSAGES = {"http.response.start", "websocket.accept"}


def _is_last(message: dict[str, Any]) -> bool:
    return message["type"] == "http.response.body" and not message.get("more_body")


def _is_gone(protocol: Any) -> bool:
    return isinstance(protocol, Request) and (protocol.finished or protocol.channel is None)


def _transport(protocol: Any) -> Any:
    return protocol.channel.transport if isinstance(protocol, Request) else protocol.transport


def _abort(protocol: Any) -> None:
    if not isinstance(protocol, Request):
        protocol.dropConnection(abort=True)
    elif protocol.channel is not None:
        protocol.channel.forceAbortClient()
