"""Daphne as Parley runs it: with back-pressure, bounded bodies, a start and an orderly end."""

# mypy: disable-error-code="misc, no-any-unimported, no-untyped-call"
# Daphne and Twisted's reactor carry no types.

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from daphne import http_protocol, server
from django.conf import settings
from twisted.internet import defer, reactor
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

log = logging.getLogger(__name__)


@implementer(IPushProducer)
class Gate:
    """Says whether a connection takes more. Daphne itself writes without asking: one client that
    stopped reading took 752 MB in a second.
    """

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    def pauseProducing(self) -> None:
        self.open.clear()

    def resumeProducing(self) -> None:
        self.open.set()

    def stopProducing(self) -> None:
        self.open.set()


class Request(http_protocol.WebRequest):
    """Refuses a body over the limit before it is spooled to disk."""

    def gotLength(self, length: int | None) -> None:
        self._taken = 0
        self._refused = length is not None and length > MAX_SPOOLED
        super().gotLength(0 if self._refused else length)

    def handleContentChunk(self, data: bytes) -> None:
        self._taken += len(data)
        if self._taken > MAX_SPOOLED:
            self._refused = True
        if not self._refused:
            super().handleContentChunk(data)

    def process(self) -> Any:
        if self._refused:
            self.basic_error(413, b"Content Too Large", "The request is too large.")
            return None
        return super().process()


# Above the application's own limit, which answers in its own words.
MAX_SPOOLED = 4 * settings.BODY_MAX_BYTES


class Server(server.Server):
    """``on_start`` runs when the port listens, ``on_end`` before the connections are closed."""

    def __init__(
        self,
        *args: Any,
        on_start: Callable[[], Coroutine[Any, Any, None]],
        on_end: Callable[[], Coroutine[Any, Any, None]],
        on_second_signal: Callable[[], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, signal_handlers=False, **kwargs)
        self.on_start = on_start
        self.on_end = on_end
        self.on_second_signal = on_second_signal
        self.failure = ""
        self._ending = False
        self._gates: dict[Any, Gate] = {}

    def run(self) -> None:
        reactor.callWhenRunning(lambda: asyncio.ensure_future(self._begin()))
        super().run()

    def _signalled(self) -> None:
        if self._ending:
            self.on_second_signal()
        else:
            self._ending = True
            self.stop()

    def kill_all_applications(self) -> Any:
        """Daphne cuts every stream at once; here the runs come to their end first."""
        return defer.Deferred.fromFuture(asyncio.ensure_future(self._end()))

    async def _end(self) -> None:
        self._ending = True
        try:
            await self.on_end()
        except Exception:
            log.exception("The server could not end in order")
        for protocol, details in list(self.connections.items()):
            if "application_instance" not in details:  # half a request: Daphne would stumble on it
                del self.connections[protocol]
        await super().kill_all_applications().asFuture(asyncio.get_running_loop())

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)
        try:
            await self.on_start()
        except Exception as error:
            log.exception("The server could not start")
            self.failure = str(error)
            self.stop()

    def listen_error(self, failure: Any) -> None:
        self.failure = failure.getErrorMessage()
        self.stop()

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if isinstance(protocol, http_protocol.WebRequest):
            if not await self._take_turn(protocol, message):
                return
        await super().handle_reply(protocol, message)

    async def _take_turn(self, protocol: Any, message: dict[str, Any]) -> bool:
        """Wait until the client takes more; False where it was closed for taking nothing."""
        if protocol.finished or protocol.channel is None:
            return True
        if message["type"] == "http.response.start":
            gate = self._gates[protocol] = Gate()
            protocol.registerProducer(gate, True)
            return True
        gate = self._gates.get(protocol)
        if gate is None:
            return True
        try:
            async with asyncio.timeout(settings.STALL_SECONDS):
                await gate.open.wait()
        except TimeoutError:
            log.info("A reader took nothing for %s s and was closed", settings.STALL_SECONDS)
            if protocol.channel is not None:
                protocol.channel.transport.abortConnection()
            return False
        if not message.get("more_body") and protocol.channel is not None:
            self._forget(protocol)
            protocol.unregisterProducer()
        return True

    def protocol_disconnected(self, protocol: Any) -> None:
        self._forget(protocol)
        super().protocol_disconnected(protocol)

    def _forget(self, protocol: Any) -> None:
        self._gates.pop(protocol, None)


# Daphne's factory makes its own class of request; ours takes its place.
http_protocol.WebRequest = Request  # type: ignore[misc]
