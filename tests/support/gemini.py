"""Fake Gemini server: local HTTP server for generateContent and streamGenerateContent?alt=sse.

The real google-genai client talks to it over a real socket. A test scripts its answers:

    gemini.on("What time is it?", [Text("Let me look."), Call("current_time", {"place": "Lagos"})],
              [Text("It is "), Text("noon.")])

The key is the newest question in the request, or the asking agent (``gemini.on_agent("writer", …)``).
Each further call takes the next answer; the last one repeats. Without a script it echoes the question.
As Gemini does, it sends raw UTF-8 and answers 400 if function calls and function responses do not pair.
"""

import asyncio
import base64
import json
import re
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Thought:
    text: str


@dataclass(frozen=True)
class Call:
    name: str
    args: dict[str, Any] = field(default_factory=dict)
    signature: str = ""  # of the thought before the call, in base64


@dataclass(frozen=True)
class Picture:
    """A file in the answer, with the signature of the thought before it, in base64."""

    data: bytes
    mime: str = "image/png"
    signature: str = ""


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Hold:
    """A pause until the test calls ``gemini.release()``."""


@dataclass(frozen=True)
class Finish:
    reason: str


@dataclass(frozen=True)
class Block:
    reason: str


@dataclass(frozen=True)
class Status:
    """An HTTP error instead of an answer."""

    code: int
    status: str = "UNAVAILABLE"
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "as scripted"
    reason: str = ""  # in the error's details


@dataclass(frozen=True)
class Cut:
    """A broken connection in the middle of the body."""


@dataclass(frozen=True)
class Drop:
    """A broken connection before the response starts."""


@dataclass(frozen=True)
class Failure:
    """An error in place of a chunk, after the response has started."""

    code: int
    status: str


@dataclass(frozen=True)
class Raw:
    """Literal bytes in place of a chunk, or of the whole body if the response is not streamed."""

    data: bytes


@dataclass(frozen=True)
class InPieces:
    """A chunk that is sent ``size`` bytes at a time, even if that splits a character."""

    step: "Text | Thought | Call | Picture"
    size: int


Step = (
    Text
    | Thought
    | Call
    | Picture
    | Pause
    | Hold
    | Finish
    | Block
    | Status
    | Cut
    | Drop
    | Failure
    | Raw
    | InPieces
)
USAGE = {"promptTokenCount": 12, "candidatesTokenCount": 4, "totalTokenCount": 16}


class Gemini:
    """The server, which runs in its own thread.

    ``requests`` are the received bodies, in order. ``paths`` and ``headers`` (lower-case names) match them.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._scripts: dict[str, list[Sequence[Step]]] = {}
        self._calls: defaultdict[str, int] = defaultdict(int)
        self._loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        future = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls), self._loop
        )
        self._server = future.result()
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def reset(self) -> None:
        self.release()
        self.requests.clear()
        self.paths.clear()
        self.headers.clear()
        self._scripts.clear()
        self._calls.clear()
        self._released = asyncio.Event()

    def on(self, question: str, *answers: Sequence[Step]) -> None:
        """Set the answers to ``question`` and reset its call counter."""
        self._scripts[question] = list(answers)
        self._calls[question] = 0

    def on_agent(self, name: str, *answers: Sequence[Step]) -> None:
        """Set the answers to the agent that ADK calls ``name``, for any question."""
        self.on(_agent_key(name), *answers)

    def release(self) -> None:
        """End every Hold, later ones included."""
        self._loop.call_soon_threadsafe(self._released.set)

    def calls_for(self, question: str) -> int:
        return self._calls[question]

    # --- the wire -----------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _receive(self, reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
        """Return the path and the body of the next request."""
        return await self._read_body(await reader.readuntil(b"\r\n\r\n"), reader)

    async def _read_body(self, head: bytes, reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
        """Return the path and the body of the request that begins with this head."""
        lines = head.decode().split("\r\n")
        path = lines[0].split(" ")[1]
        pairs = (line.split(": ", 1) for line in lines[1:] if ": " in line)
        headers = {name.lower(): value for name, value in pairs}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
        self.paths.append(path)
        self.headers.append(headers)
        self.requests.append(body)
        return path, body

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        return await self._respond(*await self._receive(reader), writer)

    async def _respond(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        """Answer a request, and return whether the connection stays open."""
        error = unpaired(body.get("contents", []))
        steps = [Status(400, "INVALID_ARGUMENT", message=error)] if error else self._answer_to(body)
        if steps and isinstance(steps[0], Drop):
            return False
        if steps and isinstance(steps[0], Status):
            _refuse(writer, steps[0])
            keep_alive = True
        elif "streamGenerateContent" in path:
            keep_alive = await self._stream(writer, steps)
        else:
            keep_alive = await self._whole(writer, steps)
        await writer.drain()
        return keep_alive

    def _answer_to(self, body: dict[str, Any]) -> Sequence[Step]:
        question = newest_question(body)
        agent = _agent_key(agent_of(body))
        return self._next_answer(agent if agent in self._scripts else question)

    def _next_answer(self, question: str) -> Sequence[Step]:
        script = self._scripts.get(question)
        call = self._calls[question]
        self._calls[question] += 1
        if script:
            return script[min(call, len(script) - 1)]
        words = f"You said: {question}".split(" ")
        return [Text((" " if n else "") + word) for n, word in enumerate(words)]

    async def _stream(self, writer: asyncio.StreamWriter, steps: Sequence[Step]) -> bool:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        last = len(steps) - 1
        for place, step in enumerate(steps):
            if await self._wait(step):
                continue
            if isinstance(step, Cut):
                return False
            for data in _wire(step, is_last=place == last):
                send_chunk(writer, data)
                await writer.drain()
        send_chunk(writer, b"")
        return True

    async def _wait(self, step: Step) -> bool:
        """Wait if ``step`` is a Pause or a Hold; return whether it is one."""
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Hold):
            await self._released.wait()
        return isinstance(step, Pause | Hold)

    async def _whole(self, writer: asyncio.StreamWriter, steps: Sequence[Step]) -> bool:
        parts: list[dict[str, Any]] = []
        answer: dict[str, Any] = {"usageMetadata": USAGE, "modelVersion": "fake"}
        finish = "STOP"
        for step in steps:
            if await self._wait(step):
                continue
            if isinstance(step, Cut):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + encode(answer)[:20])
                return False
            if isinstance(step, Raw):
                send_response(writer, 200, step.data)
                return True
            if isinstance(step, Finish):
                finish = step.reason
            elif isinstance(step, Block):
                answer["promptFeedback"] = {"blockReason": step.reason}
            elif isinstance(step, InPieces):
                parts.append(_part(step.step))
            elif isinstance(step, Text | Thought | Call | Picture):
                parts.append(_part(step))
        if "promptFeedback" not in answer:
            content = {"role": "model", "parts": parts} if parts else {"role": "model"}
            answer["candidates"] = [{"content": content, "finishReason": finish, "index": 0}]
        send_response(writer, 200, encode(answer))
        return True


def closed_port() -> int:
    """Return a port of the loopback interface without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def newest_question(body: dict[str, Any]) -> str:
    """Return the text of the newest user content that is a question, not a tool's answer."""
    for content in reversed(body.get("contents", [])):
        if content.get("role", "user") == "user":
            text = "".join(part.get("text", "") for part in content.get("parts", []))
            if text:
                return text
    return ""


def unpaired(contents: Sequence[dict[str, Any]]) -> str:
    """Return Gemini's complaint about function calls and responses that do not pair; empty if they do."""
    calls: list[str] = []  # of the previous turn
    may_call = False
    for content in contents:
        parts = content.get("parts", [])
        called = [part["functionCall"]["name"] for part in parts if "functionCall" in part]
        answered = [part["functionResponse"]["name"] for part in parts if "functionResponse" in part]
        if sorted(answered) != sorted(calls):
            return (
                "Please ensure that the number of function response parts is equal to the number of "
                "function call parts of the function call turn."
            )
        if called and not may_call:
            return (
                "Please ensure that function call turn comes immediately after a user turn or after a "
                "function response turn."
            )
        calls = called
        may_call = content.get("role", "user") != "model"
    return "" if not calls else "Please ensure that function call turn is followed by its responses."


def agent_of(body: dict[str, Any]) -> str:
    """Return the name of the asking agent, which ADK writes into the system instruction."""
    instruction = "".join(part.get("text", "") for part in body.get("systemInstruction", {}).get("parts", []))
    found = re.search(r'Your internal name is "(\w+)"', instruction)
    return found[1] if found else ""


def _agent_key(name: str) -> str:
    return f"\0agent {name}"  # no question contains a NUL


def questions_of(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Return role and text of all contents that have text."""
    found = []
    for content in body.get("contents", []):
        text = "".join(part.get("text", "") for part in content.get("parts", []))
        if text:
            found.append((content.get("role", "user"), text))
    return found


def _part(step: Text | Thought | Call | Picture) -> dict[str, Any]:
    if isinstance(step, Picture):
        blob = {"mimeType": step.mime, "data": base64.b64encode(step.data).decode()}
        return {"inlineData": blob} | ({"thoughtSignature": step.signature} if step.signature else {})
    if isinstance(step, Call):
        signed = {"thoughtSignature": step.signature} if step.signature else {}
        return {"functionCall": {"name": step.name, "args": step.args}, **signed}
    return {"text": step.text} | ({"thought": True} if isinstance(step, Thought) else {})


def _wire(step: Step, *, is_last: bool) -> list[bytes]:
    """Return the bytes of one step, in the pieces in which they are sent."""
    if isinstance(step, Raw):
        return [step.data]
    if isinstance(step, InPieces):
        data = _frame(step.step, is_last=is_last)
        return [data[start : start + step.size] for start in range(0, len(data), step.size)]
    return [_frame(step, is_last=is_last)]


def _frame(step: Step, *, is_last: bool) -> bytes:
    if isinstance(step, Failure):
        return b"data: " + encode({"error": _error(step.code, step.status)}) + b"\r\n\r\n"
    if isinstance(step, Block):
        chunk: dict[str, Any] = {"promptFeedback": {"blockReason": step.reason}}
    elif isinstance(step, Finish):
        chunk = {"candidates": [{"finishReason": step.reason, "index": 0}]}
    else:
        assert isinstance(step, Text | Thought | Call | Picture)
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [_part(step)]}, "index": 0}
        if is_last:
            candidate["finishReason"] = "STOP"
        chunk = {"candidates": [candidate]}
    if is_last:
        chunk["usageMetadata"] = USAGE
    chunk |= {"modelVersion": "fake", "responseId": "fake-1"}
    return b"data: " + encode(chunk) + b"\r\n\r\n"


def encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _error(code: int, status: str, message: str = "as scripted") -> dict[str, Any]:
    return {"code": code, "message": message, "status": status}


def send_chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _refuse(writer: asyncio.StreamWriter, status: Status) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": status.reason}
    details = {"details": [info]} if status.reason else {}
    send_response(
        writer,
        status.code,
        encode({"error": _error(status.code, status.status, status.message) | details}),
        status.headers,
    )


def send_response(
    writer: asyncio.StreamWriter, code: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
