"""Daphne as Parley runs it: with back-pressure, bounds on what clients send, a start and an orderly end."""

import asyncio
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
from config.inbound import Factory, Request, SocketProtocol

log = logging.getLogger(__name__)

# What streams get to send their last frames, and other requests to be answered, once no run goes on.
LAST_ANSWERS_SECONDS = 2.0
# What a client may say over a socket, where nothing is asked of it (chat/socket/consumer.py takes less).
SOCKET_MESSAGE_MAX = 4096


class Life(Protocol):
    """What begins and ends with the server."""

    async def start(self) -> None: ...
    async def drain(self) -> None: ...
    def hand_over(self) -> None: ...
    async def stop(self) -> None: ...


@implementer(IPushProducer)
class Gate:
    """Says whether a connection takes more. Daphne itself writes without asking: one client that
    stopped reading took 752 MB in a second.
    """

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def pauseProducing(self) -> None:
        self._open.clear()

    def resumeProducing(self) -> None:
        self._open.set()

    def stopProducing(self) -> None:
        self._open.set()

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    async def passed(self, seconds: float) -> bool:
        """Wait until the connection takes more; False where it took nothing for so long."""
        if self._open.is_set():
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._open.wait()
        except TimeoutError:
            return False
        return True


class Server(server.Server):
    """Serves ``application`` for the time of ``life``; calls ``on_ready`` when it does; ``failure`` says
    afterwards why it could not.
    """

    def __init__(self, *args: Any, life: Life, on_ready: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(
            *args,
            signal_handlers=False,
            websocket_max_message_size=SOCKET_MESSAGE_MAX,
            websocket_max_frame_size=SOCKET_MESSAGE_MAX,
            **kwargs,
        )
        self.life = life
        self.on_ready = on_ready
        self.failure = ""
        self._ending = False
        self._gates: dict[Any, Gate] = {}
        metrics.unsent_bytes.read = self.unsent_bytes
        metrics.paused_connections.read = lambda: sum(not gate.is_open for gate in self._gates.values())

    @property
    def http_factory(self) -> Factory:
        return self._factory

    @http_factory.setter
    def http_factory(self, daphnes: Any) -> None:
        """Daphne's ``run`` makes its factory by name, and leaves no other place for one's own."""
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
        reactor.callWhenRunning(lambda: asyncio.ensure_future(self._begin()))
        super().run()

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)
        try:
            await asyncio.to_thread(_warm_pages)
            await self.life.start()
        except (DatabaseError, InterfaceError) as error:
            self._fail(f"The database cannot be used: {' '.join(str(error).split())}")
        except Exception:
            log.exception("Parley could not start")
            self._fail("Parley could not start; the lines above say why.")
        else:
            self.on_ready()

    def _signalled(self) -> None:
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
        # Every connection inherits it. Left to itself, the kernel holds 4 MB for one that stopped reading.
        port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.UNSENT_MAX_BYTES // 4)

    def listen_error(self, failure: Any) -> None:
        self._fail(failure.getErrorMessage())

    def _fail(self, why: str) -> None:
        self.failure = why
        self.stop()

    def kill_all_applications(self) -> Any:
        """Daphne cuts every stream at once; here the runs come to their end first."""
        return defer.Deferred.fromFuture(asyncio.ensure_future(self._end()))

    async def _end(self) -> None:
        self._ending = True
        try:
            await self.life.drain()
            await self._last_answers()
            await self.life.stop()
        except Exception:
            log.exception("The server could not end in order")
        for protocol, details in list(self.connections.items()):
            if "application_instance" not in details:  # half a request: Daphne would stumble on it
                del self.connections[protocol]
        await super().kill_all_applications().asFuture(asyncio.get_running_loop())

    async def _last_answers(self) -> None:
        answers = [
            d["application_instance"] for d in self.connections.values() if "application_instance" in d
        ]
        if answers:
            await asyncio.wait(answers, timeout=LAST_ANSWERS_SECONDS)

    # --- back-pressure ------------------------------------------------------------------------

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if await self._takes(protocol, message):
            await super().handle_reply(protocol, message)

    async def _takes(self, protocol: Any, message: dict[str, Any]) -> bool:
        """Wait until the client takes more; a connection that takes nothing is closed."""
        if _is_gone(protocol):
            return False
        if message["type"] in BEGINNINGS:
            gate = self._gates[protocol] = Gate()
            if message["type"] == "websocket.accept":
                protocol.unregisterProducer()  # the HTTP channel, from before the upgrade
            protocol.registerProducer(gate, True)
        elif protocol in self._gates:
            if not await self._gates[protocol].passed(settings.STALL_SECONDS):
                log.info("A reader took nothing for %g s and was closed", settings.STALL_SECONDS)
                _abort(protocol)
                return False
            if _is_the_last(message) and protocol in self._gates:
                del self._gates[protocol]
                protocol.unregisterProducer()
        return True

    def unsent_bytes(self) -> int:
        """What streams and sockets hold in this process because their readers have not taken it; the
        kernel's own buffers are not counted. Twisted keeps it in three attributes and tells nobody.
        """
        open_ones = [_transport(protocol) for protocol in self._gates if not _is_gone(protocol)]
        return sum(len(each.dataBuffer) - each.offset + each._tempDataLen for each in open_ones)

    def protocol_disconnected(self, protocol: Any) -> None:
        self._gates.pop(protocol, None)
        super().protocol_disconnected(protocol)


def _warm_pages() -> None:
    """Load what the first page would: the ways to sign in, formats, the templates and their icons."""
    get_backends()
    get_format("DATE_FORMAT", lang=settings.LANGUAGE_CODE)
    _ = engines["django"].engine.template_context_processors  # type: ignore[attr-defined]
    render_to_string("404.html")
    for name in ("chat/page.html", "account/login.html"):
        get_template(name)


BEGINNINGS = {"http.response.start", "websocket.accept"}


def _is_the_last(message: dict[str, Any]) -> bool:
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
