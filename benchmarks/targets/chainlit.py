"""Chainlit as a target, by a minimal client of its socket.io protocol."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from benchmarks.environments import LOCKS, Environment
from benchmarks.load import STREAM_SECONDS, Reply, arrivals_of
from benchmarks.processes import Cores, Process
from benchmarks.targets.base import Ask, started
from benchmarks.targets.peers import Peer

# Engine.io's packets, and socket.io's of the namespace "/" inside of them.
PING, PONG, CONNECT, CONNECTED, EVENT = "2", "3", "40", "40", "42"
READY = f'{EVENT}["clear_call_fn"'  # the last answer to a new page
TASK_END = f'{EVENT}["task_end"'
APP = LOCKS / "chainlit" / "app.py"
CREATED_AT = "2026-01-01T00:00:00Z"  # required, and replaced by the server
FRAME_MAX_BYTES = 16 * 1024 * 1024


class Socket:
    """Connection of one talk, which stays open for its next questions as a browser's does."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, port: int, talk: str) -> "Socket":
        address = f"ws://127.0.0.1:{port}/ws/socket.io/?EIO=4&transport=websocket"
        connection = await connect(address, compression=None, max_size=FRAME_MAX_BYTES, proxy=None)
        socket = cls(connection)
        await connection.recv()  # engine.io's handshake
        session = {"sessionId": talk, "clientType": "webapp", "userEnv": "{}", "threadId": ""}
        await connection.send(CONNECT + json.dumps(session))
        await socket._until(CONNECTED)
        await socket._emit("connection_successful")
        await socket._until(READY)
        return socket

    async def ask(self, question: str) -> list[tuple[float, str]]:
        """Send a question; return the frames up to the end of its task, each with its time."""
        message = {"id": str(uuid.uuid4()), "name": "user", "type": "user_message", "output": question}
        message["createdAt"] = CREATED_AT
        await self._emit("client_message", {"message": message, "fileReferences": []})
        return await self._until(TASK_END)

    async def close(self) -> None:
        await self._connection.close()

    async def _emit(self, *event: Any) -> None:
        await self._connection.send(EVENT + json.dumps(event))

    async def _until(self, prefix: str) -> list[tuple[float, str]]:
        found: list[tuple[float, str]] = []
        while True:
            frame = str(await self._connection.recv())
            if frame == PING:
                await self._connection.send(PONG)
                continue
            found.append((time.monotonic(), frame))
            if frame.startswith(prefix):
                return found


class Chainlit(Peer):
    """``chainlit run`` with a small ADK handler: nothing is stored, no sign-in."""

    name = "Chainlit"
    environment = Environment.of_peer("chainlit")

    @asynccontextmanager
    async def serving(self, cores: Cores) -> AsyncIterator[Process]:
        self._sockets: dict[str, Socket] = {}
        command = ["-m", "chainlit", "run", str(APP), "--headless", "--host", "127.0.0.1"]
        process = self._process(*command, "--port", str(self._port), CHAINLIT_APP_ROOT=str(self._folder))
        async with started(process, cores, self._port, "/"):
            try:
                yield process
            finally:
                await asyncio.gather(*(socket.close() for socket in self._sockets.values()))

    async def _ask(self, ask: Ask) -> Reply:
        began, frames = time.monotonic(), list[tuple[float, str]]()
        try:
            async with asyncio.timeout(STREAM_SECONDS):
                if ask.talk not in self._sockets:
                    self._sockets[ask.talk] = await Socket.open(self._port, ask.talk)
                frames = await self._sockets[ask.talk].ask(ask.question)
        except (OSError, TimeoutError, WebSocketException):
            pass
        return reply_of(began, frames)

    async def read_back(self, asks: Sequence[Ask], replies: Sequence[Reply]) -> list[str | None]:
        for ask in asks:
            if socket := self._sockets.pop(ask.talk, None):
                await socket.close()  # an open one would have to answer pings
        return [reply.kept for reply in replies]


def reply_of(began: float, frames: Sequence[tuple[float, str]]) -> Reply:
    """Return the reply that the frames of a task have; without frames it did not end."""
    events = [(at, json.loads(frame[len(EVENT) :])) for at, frame in frames if frame.startswith(EVENT)]
    named = [(at, *event) for at, event in events if len(event) == 2]
    shown = [(at, text) for at, name, body in named if (text := _shown(name, body))]
    kept = [str(body["output"]) for _, name, body in named if _is_reply(name, body)]
    return Reply(
        began,
        arrivals_of(shown),
        "".join(text for _, text in shown),
        ended=bool(frames),
        kept=kept[-1] if kept else None,
    )


def _shown(name: str, body: Any) -> str:
    """Return the text that an event adds to the reply. The first one comes with the message's start."""
    if name == "stream_start":
        return str(body["output"])
    return str(body["token"]) if name == "stream_token" else ""


def _is_reply(name: str, body: Any) -> bool:
    """Return whether an event has the whole reply, which follows its last delta."""
    return name in ("new_message", "update_message") and body["type"] == "assistant_message"
