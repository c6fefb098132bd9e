"""Call without a model: a test sees what its socket passes on, and says what the socket sends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from chat.calls.closing import CallEnd
from chat.calls.models import LiveCall
from tests.support.client import Client, Socket

QUIET = b"\0\0" * 320  # 20 ms


class FakeCall:
    """Call as the socket knows it. ``told`` is all that the socket passed on, in order."""

    def __init__(self, row: LiveCall, client: Any) -> None:
        self.row = row
        self.closing: CallEnd | None = None
        self.client: Any = None
        self.told: list[Any] = []
        self.over = asyncio.Event()
        self.attach(client)

    def attach(self, client: Any) -> None:
        self.client = client
        client.send({"type": "ready", "call": str(self.row.pk), "rate": 24_000})

    def detach(self, client: Any, *, hung_up: bool) -> None:
        self.told.append(("detach", hung_up))
        if self.client is client:
            self.client = None
        if hung_up:
            self.finish(CallEnd.HUNG_UP)

    async def run(self) -> int:
        await self.over.wait()
        assert self.closing
        return self.closing.code

    def finish(self, end: CallEnd) -> None:
        if self.closing is None:
            self.closing = end
            self.over.set()

    def hear(self, pcm: bytes) -> None:
        self.told.append(pcm)

    def read(self, text: str) -> None:
        self.told.append(("read", text))

    def played(self, ms: float) -> None:
        self.told.append(("played", ms))

    def start(self) -> None:
        self.told.append("start")

    def end(self) -> None:
        self.told.append("end")

    def mute(self) -> None:
        self.told.append("mute")

    def stop(self) -> None:
        self.told.append("stop")


class FakeCalls:
    """The calls that sockets have opened, in order."""

    def __init__(self) -> None:
        self.opened: list[FakeCall] = []
        self.error: Exception | None = None  # raised in place of the next call

    async def open_call(self, _member: Any, row: LiveCall, client: Any) -> FakeCall:
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        self.opened.append(FakeCall(row, client))
        return self.opened[-1]

    @property
    def last(self) -> FakeCall:
        return self.opened[-1]


class CallSocket:
    """The page's side of a call's socket."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    def say(self, frame: Any) -> None:
        self.socket.say(frame if isinstance(frame, str) else json.dumps(frame))

    def sound(self, pcm: bytes = QUIET) -> None:
        self.socket.input_queue.put_nowait({"type": "websocket.receive", "bytes": pcm})

    async def frame(self) -> Any:
        """Return the next frame of text, or the bytes of one of audio."""
        message = await self.socket.receive_output(5)
        assert message["type"] == "websocket.send", message
        return message["bytes"] if message.get("bytes") is not None else json.loads(message["text"])

    async def ready(self) -> str:
        """Wait until the call is open; return its id."""
        await self.socket.opened()
        frame = await self.frame()
        assert frame["type"] == "ready", frame
        return str(frame["call"])

    async def refused(self) -> tuple[str, int]:
        """Return the code of the error frame, and the close code, of a socket that is closed at once."""
        await self.socket.opened()
        return await self.closed()

    async def closed(self, seconds: float = 5) -> tuple[str, int]:
        """Read to the close; return the code of the last error frame, and the close code."""
        code = ""
        while (message := await self.socket.receive_output(seconds))["type"] != "websocket.close":
            if message.get("text"):
                frame = json.loads(message["text"])
                if frame["type"] == "error":
                    assert frame["detail"]
                    code = frame["code"]
        return code, int(message["code"])

    async def leave(self, code: int) -> None:
        """Close the socket, as the page with ``code``, or as a lost connection."""
        self.socket.input_queue.put_nowait({"type": "websocket.disconnect", "code": code})
        await self.socket.wait()


@asynccontextmanager
async def call_socket(
    client: Client, conversation: Any, *, call: str = "", **options: Any
) -> AsyncIterator[CallSocket]:
    query = f"?call={call}" if call else ""
    async with client.socket(f"/ws/live/{conversation}/{query}", **options) as socket:
        yield CallSocket(socket)
