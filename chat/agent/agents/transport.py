"""The one way to Gemini: httpx, mended where it takes characters of the text for line ends.

httpx splits lines as ``str.splitlines`` does, at U+0085, U+2028 and U+2029 too. JSON may hold them
as they are, server-sent events end no line there, and Gemini sends them raw: google-genai would
then read two halves of a chunk and fail. Here they reach it escaped, which is the same JSON.
"""

from collections.abc import AsyncIterator

import httpx

ESCAPED = {b"\xc2\x85": rb"\u0085", b"\xe2\x80\xa8": rb"\u2028", b"\xe2\x80\xa9": rb"\u2029"}
BEGINNINGS = (b"\xe2\x80", b"\xe2", b"\xc2")  # of one of them, at the end of what has arrived

_open: list[httpx.AsyncClient] = []


def client() -> httpx.AsyncClient:
    """A client without deadlines for the answer (execution has them) and without compression,
    which would cost more than it saves on a chunk of twenty words.
    """
    opened = httpx.AsyncClient(
        timeout=httpx.Timeout(None, connect=10),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=50),
        headers={"Accept-Encoding": "identity"},
        event_hooks={"response": [_mend]},
    )
    _open.append(opened)
    return opened


async def close_all() -> None:
    """Close the clients: google-genai leaves that to whoever made them."""
    while _open:
        await _open.pop().aclose()


class WholeLines(httpx.AsyncByteStream):
    """A stream of JSON lines in UTF-8 whose only line ends are CR and LF."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        held = b""
        async for arrived in self._stream:
            data = held + arrived
            held = next((begun for begun in BEGINNINGS if data.endswith(begun)), b"")
            yield _escape(data[: len(data) - len(held)])
        if held:
            yield held

    async def aclose(self) -> None:
        await self._stream.aclose()


def _escape(data: bytes) -> bytes:
    for raw, escaped in ESCAPED.items():
        if raw in data:
            data = data.replace(raw, escaped)
    return data


async def _mend(response: httpx.Response) -> None:
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    if is_stream and "content-encoding" not in response.headers:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = WholeLines(response.stream)
