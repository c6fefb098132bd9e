"""Bounds on what a client may send: request heads, bodies and socket frames. Twisted has none of these."""

from typing import Any

from daphne import http_protocol, ws_protocol
from django.conf import settings
from twisted.protocols.basic import LineReceiver
from twisted.web import http

# One byte more than the application takes, so that it refuses the body, in its own words and order.
BODY_KEPT = settings.BODY_MAX_BYTES + 1
# A body is read to its end, or the browser would show a broken connection in place of the refusal;
# but what is sent without end is no form. Counted on the wire: chunk sizes and extensions included.
BODY_READ = BODY_KEPT + 64 * 1024 * 1024
# Decoding one chunk costs 7 µs, so a body of one-byte chunks costs 1 µs a byte and starves the event loop:
# five of 3.6 MB kept everybody else waiting for 5 to 20 s. So many small chunks are free; beyond them the
# chunks must hold CHUNK_LEAST bytes on average.
CHUNKS_FREE = 256
CHUNK_LEAST = 128
READ_SIZE = (
    16 * 1024
)  # what one connection may have decoded before others have their turn; Twisted's is 64 KiB
TIMER_BYTES = (
    16 * 1024
)  # the idle timer restarts with so many bytes, not with each one: a head gets one minute
LINGER_SECONDS = 2.0  # after a refusal: closing while the client still sends would destroy the answer
LINGER_BYTES = 1024 * 1024
# Parsing one frame costs 40 µs, and nothing is asked of a client (chat/socket/consumer.py takes 60 messages a
# minute): five floods kept everybody else waiting for 1.7 s, signed in or not.
FRAMES_A_MINUTE = 120
FLOODED = 4400  # as chat/socket/consumer.py closes a socket that says too much


class Overrun(Exception):
    """A body is not worth reading any further. ``status`` is the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Request(http_protocol.WebRequest):
    """Keeps no more of a body than the application needs to refuse it."""

    _taken = 0  # bytes of the decoded body
    _on_wire = 0
    _reads = 0
    _pieces = 0  # of the body, as the decoder handed them over

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Twisted would parse forms on the event loop, and nothing reads the result: a multipart form of 1 MB
        # with 18,000 parts took 0.25 s.
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)

    def gotLength(self, length: int | None) -> None:
        super().gotLength(None if length is None else min(length, BODY_KEPT))

    def wire_received(self, size: int) -> None:
        """Count a read of the body. Raises Overrun."""
        self._reads += 1
        self._on_wire += size
        if self._on_wire > BODY_READ:
            raise Overrun(http.REQUEST_ENTITY_TOO_LARGE)

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body: a chunk, or what one read has of it. Raises Overrun."""
        room = max(0, BODY_KEPT - self._taken)
        self._taken += len(data)
        self._pieces += 1
        # A read begins and ends within a chunk: two of its pieces say nothing about the chunks' size.
        if self._pieces > CHUNKS_FREE + 2 * self._reads + self._taken // CHUNK_LEAST:
            raise Overrun(http.BAD_REQUEST)
        if room:
            super().handleContentChunk(data[:room])

    def process(self) -> Any:
        if self._taken > BODY_KEPT:  # cut: the application looks at the length, which chunks don't tell
            self.requestHeaders.setRawHeaders(b"content-length", [b"%d" % self._taken])
        return super().process()

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """Answer without the application, and close: hundreds of such requests fit into one read."""
        if self.channel is not None:
            self.channel.persistent = False
            self.responseHeaders.setRawHeaders(b"connection", [b"close"])
        super().basic_error(status, status_text, body)


class Channel(http.HTTPChannel):
    """One connection: a head in one minute, a body that goes on, refusals that arrive."""

    transport: Any
    _since_timer = 0  # bytes since the timer was restarted
    _discarded: int | None = None  # bytes since the refusal, where there was one

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
        LineReceiver.dataReceived(self, data)  # past HTTPChannel's, which restarts the timer with each byte

    def rawDataReceived(self, data: bytes) -> None:
        try:
            if not self._handlingRequest:
                self.requests[-1].wire_received(len(data))
            super().rawDataReceived(data)
        except Overrun as overrun:
            self.refuse(overrun.status)

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
        """Twisted's, which may close before its answer has arrived."""
        self.refuse(http.BAD_REQUEST)

    def refuse(self, status: int) -> None:
        """Answer, stop writing, and let the client read: what it still sends is dropped, for 2 s or 1 MiB."""
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
    """Daphne's, with our Channel."""

    protocol = Channel

    def buildProtocol(self, addr: Any) -> Any:
        channel = super().buildProtocol(addr)
        channel.requestFactory = Request
        return channel


class SocketProtocol(ws_protocol.WebSocketProtocol):
    """Daphne's, which closes a socket that is flooded with frames, whatever they hold."""

    _minute = 0.0
    _frames = 0

    def onFrameBegin(self) -> None:
        super().onFrameBegin()
        now = self.factory.reactor.seconds()
        if now - self._minute >= 60:
            self._minute, self._frames = now, 0
        self._frames += 1
        if self._frames > FRAMES_A_MINUTE:
            self.sendClose(code=FLOODED)
            self.dropConnection()
