"""Limits on request heads, bodies and socket frames. Twisted has none of these."""

import asyncio
from typing import Any

from daphne import http_protocol, ws_protocol
from django.conf import settings
from twisted.protocols.basic import LineReceiver
from twisted.web import http
from twisted.web.http_headers import Headers

# One byte more than the application accepts, so that the application itself refuses the body.
BODY_KEPT = settings.BODY_MAX_BYTES + 1
# A body is read to its end, or the browser would show a broken connection instead of the refusal.
# Beyond this limit reading stops. Counted on the wire: chunk sizes and extensions included.
BODY_READ = BODY_KEPT + 64 * 1024 * 1024
# Decoding one chunk costs 7 µs, so a body of one-byte chunks costs 1 µs a byte on the wire and starves the
# event loop: five bodies of 3.6 MB kept all other clients waiting for 5 to 20 s. CHUNKS_FREE chunks may have
# any size; with more of them, the average must be CHUNK_LEAST bytes.
CHUNKS_FREE = 256
CHUNK_LEAST = 128
# Bytes that one connection may have decoded before the others have their turn; Twisted's default is 64 KiB.
READ_SIZE = 16 * 1024
# The idle timer restarts after this many bytes, not after each one: a request head has one minute.
TIMER_BYTES = 16 * 1024
LINGER_SECONDS = 2.0  # after a refusal: to close while the client still sends would destroy the response
LINGER_BYTES = 1024 * 1024
# Parsing one frame costs 40 µs, and clients need to send none (the socket consumer accepts 60 messages a
# minute): five floods kept all other clients waiting for 1.7 s, whether signed in or not.
FRAMES_A_MINUTE = 120
# The same for a socket that was accepted as one of a call, whose page sends 50 frames of audio a second, and
# several at a time when it was delayed. The application accepts less, and says why it closes.
CALL_FRAME_MAX = 64 * 1024  # bytes
CALL_FRAMES_A_SECOND = 150
CALL_BYTES_A_SECOND = 128 * 1024
CALL_SECONDS = 2  # over which these are averaged
FLOODED = 4400  # the socket consumer closes with the same code after too many messages


class BodyLimitExceeded(Exception):
    """Breach of a body limit. ``status`` is the response's status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Inbox:
    """Messages from one client to its application, which reads them one after another.

    Daphne's asyncio.Queue takes 3 KiB for each connection.
    """

    __slots__ = ("_messages", "_waiter")

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._waiter: asyncio.Future[None] | None = None

    def put_nowait(self, message: dict[str, Any]) -> None:
        self._messages.append(message)
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> dict[str, Any]:
        """Return the next message; ``http.disconnect`` at each call, as ASGI says of a request that ended."""
        while not self._messages:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._messages[0]["type"] == "http.disconnect":
            return self._messages[0]
        return self._messages.pop(0)


class Request(http_protocol.WebRequest):
    """Request that keeps no more of its body than the application needs to refuse it."""

    _decoded = 0  # bytes of the body
    _on_wire = 0  # bytes of the body before decoding
    _reads = 0
    _pieces = 0  # calls of handleContentChunk

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Twisted would parse forms on the event loop, and no code reads the result: a multipart form of 1 MB
        # with 18,000 parts took 0.25 s.
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)

    def gotLength(self, length: int | None) -> None:
        super().gotLength(None if length is None else min(length, BODY_KEPT))

    def wire_received(self, size: int) -> None:
        """Count a read of the body. Raises BodyLimitExceeded."""
        self._reads += 1
        self._on_wire += size
        if self._on_wire > BODY_READ:
            raise BodyLimitExceeded(http.REQUEST_ENTITY_TOO_LARGE)

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body: a chunk, or one read's part of it. Raises BodyLimitExceeded."""
        room = max(0, BODY_KEPT - self._decoded)
        self._decoded += len(data)
        self._pieces += 1
        # A read begins and ends within a chunk, so two of its pieces can be smaller than their chunks.
        if self._pieces > CHUNKS_FREE + 2 * self._reads + self._decoded // CHUNK_LEAST:
            raise BodyLimitExceeded(http.BAD_REQUEST)
        if room:
            super().handleContentChunk(data[:room])

    def process(self) -> Any:
        # Daphne takes the site's path from it, whoever sends it.
        self.requestHeaders.removeHeader(b"daphne-root-path")
        if self._decoded > BODY_KEPT:  # truncated: the application checks this length, which chunks lack
            self.requestHeaders.setRawHeaders(b"content-length", [b"%d" % self._decoded])
        return super().process()

    def release_headers(self) -> None:
        """Release all headers, which Twisted no longer reads once a stream has begun: they take 4 KiB."""
        self.requestHeaders = self.responseHeaders = Headers()
        self.clean_headers: list[tuple[bytes, bytes]] = []

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """Respond without the application, and close: one read can hold hundreds of such requests."""
        if self.channel is not None:
            self.channel.persistent = False
            self.responseHeaders.setRawHeaders(b"connection", [b"close"])
        super().basic_error(status, status_text, body)


class Channel(http.HTTPChannel):
    """Connection that limits the time of heads and bodies, and delivers its refusals before it closes."""

    transport: Any
    _since_timer = 0  # bytes since the timer was restarted
    _discarded: int | None = None  # bytes received after a refusal; None without one

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.bufferSize = READ_SIZE

    def dataReceived(self, data: bytes) -> None:
        if self._discarded is not None:
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self.forceAbortClient()
            return
        self._since_timer += len(data)
        begins = not self.requests and not self._buffer
        if begins or self._since_timer >= TIMER_BYTES:
            self._since_timer = 0
            self.resetTimeout()
        LineReceiver.dataReceived(self, data)  # HTTPChannel's restarts the timer at every byte

    def rawDataReceived(self, data: bytes) -> None:
        try:
            if not self._handlingRequest:
                self.requests[-1].wire_received(len(data))
            super().rawDataReceived(data)
        except BodyLimitExceeded as error:
            self.refuse(error.status)

    def lineReceived(self, line: bytes) -> None:
        if self._receivedHeaderSize + len(line) > self.totalHeadersSize:
            self.lineLengthExceeded(line)
        else:
            super().lineReceived(line)

    def headerReceived(self, line: bytes) -> bool:
        if self._receivedHeaderCount >= self.maxHeaders:
            self.lineLengthExceeded(line)
            return False
        return bool(super().headerReceived(line))

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse(431 if self.requests else http.REQUEST_URI_TOO_LONG)

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Refuse; Twisted's own method may close before its response has arrived."""
        self.refuse(http.BAD_REQUEST)

    def refuse(self, status: int) -> None:
        """Respond, stop writing, and discard what the client still sends, for 2 s or 1 MiB."""
        if self._discarded is not None:
            return
        self._discarded = 0
        self._buffer = b""
        phrase = http.RESPONSES.get(status, b"Request Header Fields Too Large")
        self.transport.write(
            b"HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % (status, phrase)
        )
        self._networkProducer.unregisterProducer()
        self.transport.loseWriteConnection()
        self.setTimeout(LINGER_SECONDS)

    def timeoutConnection(self) -> None:
        if self._discarded is None:
            super().timeoutConnection()
        else:
            self.forceAbortClient()


class Factory(http_protocol.HTTPFactory):
    """Daphne's factory, with Parley's Channel and Request."""

    protocol = Channel

    def buildProtocol(self, addr: Any) -> Any:
        channel = super().buildProtocol(addr)
        channel.requestFactory = Request
        return channel


class SocketProtocol(ws_protocol.WebSocketProtocol):
    """Daphne's protocol, which closes a socket that receives too many frames of any kind."""

    _period_began = 0.0
    _frames = 0
    _bytes = 0
    _takes_audio = False

    def handle_reply(self, message: dict[str, Any]) -> None:
        if message.get("takes_audio") and message["type"] == "websocket.accept":
            self._takes_audio = True
            self.maxFramePayloadSize = self.maxMessagePayloadSize = CALL_FRAME_MAX
        super().handle_reply(message)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Write as autobahn does, but without the line for its log, a quarter of the cost of a frame."""
        if sync or chopsize or self.send_queue:
            super().sendData(data, sync, chopsize)
        else:
            self.transport.write(data)

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:
        """Send a message; drop it if the socket closes, of which the application has not heard yet."""
        if self.state in (self.STATE_CONNECTING, self.STATE_OPEN):
            super().serverSend(content, binary)

    def serverClose(self, code: int | None = None) -> None:
        """Close the socket with any code of the registry, such as 1012."""
        if code is not None and 1000 < code < 3000:  # which sendClose refuses
            self.sendCloseFrame(code=code)
        else:
            super().serverClose(code)

    def _max_message_size_exceeded(self, size: int, most: int, reason: str) -> None:
        if self._takes_audio:  # say so, and discard what comes; other sockets are cut off
            self.failedByMe = True
            self.sendClose(code=FLOODED)
        else:
            super()._max_message_size_exceeded(size, most, reason)

    def onFrameBegin(self) -> None:
        super().onFrameBegin()
        now = self.factory.reactor.seconds()
        period = CALL_SECONDS if self._takes_audio else 60
        if now - self._period_began >= period:
            self._period_began, self._frames, self._bytes = now, 0, 0
        self._frames += 1
        self._bytes += self.current_frame.length
        if self._is_flooded():
            self.sendClose(code=FLOODED)
            self.dropConnection()

    def _is_flooded(self) -> bool:
        if not self._takes_audio:
            return self._frames > FRAMES_A_MINUTE
        return (
            self._frames > CALL_FRAMES_A_SECOND * CALL_SECONDS
            or self._bytes > CALL_BYTES_A_SECOND * CALL_SECONDS
        )
