"""The HTTP transport to Gemini: httpx, with chunks joined and a workaround for Unicode line separators."""

import ssl
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any

import httpx

from chat.agent.agents import wire
from chat.agent.agents.coalescing import Gatherer, pause

# httpx 0.28 splits lines as str.splitlines does, also at U+0085, U+2028 and U+2029. Gemini sends these
# raw inside JSON, and google-genai would read two halves of a chunk and fail. Escapes are the same JSON.
ESCAPED_SEPARATORS = {b"\xc2\x85": rb"\u0085", b"\xe2\x80\xa8": rb"\u2028", b"\xe2\x80\xa9": rb"\u2029"}
SEPARATOR_STARTS = (b"\xe2\x80", b"\xe2", b"\xc2")  # a network chunk may end inside a separator

_open: set[httpx.AsyncClient] = set()


def client() -> httpx.AsyncClient:
    """Return a new client. ``close_clients`` closes it."""
    opened = httpx.AsyncClient(
        timeout=httpx.Timeout(None, connect=10),  # execution has the deadlines of the answer
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=50),
        headers={"Accept-Encoding": "identity"},  # gzip costs more than it saves on a chunk of twenty words
        event_hooks={"response": [_join_chunks]},
    )
    _open.add(opened)
    return opened


def is_ours(found: object) -> bool:
    """Return whether this is a client of ``client`` that is open."""
    return found in _open


async def close_client(opened: httpx.AsyncClient) -> None:
    """Close a client of ``client``, and no other one."""
    if opened in _open:
        _open.discard(opened)
        await opened.aclose()


async def close_clients() -> None:
    """Close the clients, also those of litellm: google-genai does not close a client that its caller made."""
    while _open:
        await _open.pop().aclose()
    if litellm := sys.modules.get("litellm"):
        from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients

        await close_litellm_async_clients()  # type: ignore[no-untyped-call]
        litellm.in_memory_llm_clients_cache.flush_cache()


class SeparatorEscaper(httpx.AsyncByteStream):
    """A stream of JSON lines in UTF-8 in which only CR and LF end a line."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        held = b""
        async for arrived in self._stream:
            data = held + arrived
            held = next((start for start in SEPARATOR_STARTS if data.endswith(start)), b"")
            yield _escape(data[: len(data) - len(held)])
        if held:
            yield held

    async def aclose(self) -> None:
        await self._stream.aclose()


def _escape(data: bytes) -> bytes:
    for raw, escaped in ESCAPED_SEPARATORS.items():
        if raw in data:
            data = data.replace(raw, escaped)
    return data


class JoinedEvents(httpx.AsyncByteStream):
    """The server-sent events of a response, those of text joined that arrive in one window.

    The first event is passed on at once and alone. An event that no text can be joined to stays as it is.
    """

    def __init__(self, response: httpx.Response) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._stream = response.stream
        self._network: Any = response.extensions.get(
            "network_stream"
        )  # None in a transport without a network
        self._has_begun = False  # the first event has been passed on
        self._gatherer: Gatherer[bytes] | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._gatherer = Gatherer(self._read())
        buffer = bytearray()
        while arrived := await self._gatherer.take():
            events = wire.take_events(buffer, b"".join(arrived))
            if events and not self._has_begun:
                self._has_begun = True
                yield events.pop(0)
            if events:
                yield b"".join(wire.joined(events) if len(events) > 1 else events)
        if buffer:
            yield bytes(buffer)

    async def aclose(self) -> None:
        if self._gatherer:
            await self._gatherer.close()
        await self._stream.aclose()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        """Yield the response's bytes, and pause before each read of the network.

        So the operating system gathers what arrives, and one read returns all of it: a read costs 0.15 ms.
        """
        read_at = time.monotonic()

        async def read(max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 (httpcore's name)
            nonlocal read_at
            assert self._gatherer
            await self._gatherer.emptied()
            if self._has_begun:
                await pause(read_at)
            data: bytes = await type(self._network).read(self._network, max_bytes, timeout)
            read_at = time.monotonic()
            return data + _rest_over_tls(self._network, max_bytes) if data else data

        if self._network:
            self._network.read = read  # httpcore's connection calls it
        try:
            async for data in SeparatorEscaper(self._stream):
                yield data
        finally:
            if self._network:
                del self._network.read  # the connection may be used again


def _rest_over_tls(network: Any, max_bytes: int) -> bytes:
    """Return what has arrived besides one read, which returns one record of TLS: mostly one chunk.

    Without this, a stream with a window of 100 ms had ten chunks a second, however fast they came.
    """
    found = bytearray()
    if tls := network.get_extra_info("ssl_object"):
        with suppress(ssl.SSLError):  # nothing more has arrived; or the next read raises it again
            while len(found) < max_bytes and (record := tls.read(max_bytes)):
                found += record
    return bytes(found)


async def _join_chunks(response: httpx.Response) -> None:
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    if is_stream and "content-encoding" not in response.headers:
        response.stream = JoinedEvents(response)
