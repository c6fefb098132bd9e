"""The HTTP transport to Gemini: httpx, with a workaround for Unicode line separators."""

import sys
from collections.abc import AsyncIterator

import httpx

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
        event_hooks={"response": [_escape_separators]},
    )
    _open.add(opened)
    return opened


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


async def _escape_separators(response: httpx.Response) -> None:
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    if is_stream and "content-encoding" not in response.headers:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = SeparatorEscaper(response.stream)
