"""Fake servers of other providers: OpenAI's chat completions, Ollama's chat and Anthropic's messages.

The real clients (openai, litellm, anthropic) talk to one local HTTP server, which tells the three apart by
the path. It takes the scripts of tests/support/gemini.py; the key is the newest question.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from tests.support.gemini import (
    Call,
    Cut,
    Drop,
    Finish,
    Gemini,
    Status,
    Step,
    Text,
    Thought,
    encode,
    send_chunk,
    send_response,
)

MODEL = "fake"


class OtherModels(Gemini):
    """The server. Base URLs: ``url`` for Ollama and Anthropic, ``url + "/v1"`` for OpenAI."""

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        path, body = await self._receive(reader)
        wire = next((each for each in (OpenAI(), Ollama(), Anthropic()) if path.endswith(each.path)), None)
        if wire is None:  # litellm asks Ollama for the abilities of its model, too
            for kept in (self.requests, self.paths, self.headers):
                kept.pop()
            send_response(writer, 404, encode({"error": f"no such path: {path}"}))
            return True
        steps = self._next_answer(_newest_question(body))
        first = steps[0] if steps else None
        if isinstance(first, Drop):
            return False
        if isinstance(first, Status):
            send_response(writer, first.code, encode(wire.error(first)), first.headers)
        elif body.get("stream"):
            return await self._stream_by(wire, writer, steps)
        else:
            send_response(
                writer, 200, encode(wire.whole([each for each in steps if not await self._wait(each)]))
            )
        await writer.drain()
        return True

    async def _stream_by(self, wire: "Wire", writer: asyncio.StreamWriter, steps: Sequence[Step]) -> bool:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {wire.type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        frames = [wire.start()]
        for index, step in enumerate(steps):
            if isinstance(step, Cut):
                return False
            if not await self._wait(step):
                frames.append(wire.frames(step, index))
            await _send_all(writer, frames)
            frames = []
        await _send_all(writer, [*frames, wire.end(steps)])
        send_chunk(writer, b"")
        await writer.drain()
        return True


class Wire:
    """The frames of one provider."""

    path = ""
    type = "text/event-stream"

    def start(self) -> bytes:
        return b""

    def frames(self, step: Step, index: int) -> bytes:
        raise NotImplementedError

    def end(self, steps: Sequence[Step]) -> bytes:
        raise NotImplementedError

    def whole(self, steps: Sequence[Step]) -> dict[str, Any]:
        raise NotImplementedError

    def error(self, status: Status) -> dict[str, Any]:
        error = {"message": status.message, "type": status.status, "code": status.status, "param": None}
        return {"type": "error", "error": error}


class OpenAI(Wire):
    path = "/chat/completions"

    def frames(self, step: Step, index: int) -> bytes:
        match step:
            case Text(text):
                return self._frame(delta={"role": "assistant", "content": text})
            case Thought(text):
                return self._frame(delta={"role": "assistant", "reasoning_content": text})
            case Call():
                call = {"index": 0, "id": f"call_{index}", "type": "function", "function": _function(step)}
                return self._frame(delta={"role": "assistant", "tool_calls": [call]})
        return b""

    def end(self, steps: Sequence[Step]) -> bytes:
        usage = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}
        return (
            self._frame(delta={}, finish_reason=_openai_finish(steps))
            + self._frame(None, usage=usage)
            + b"data: [DONE]\n\n"
        )

    def whole(self, steps: Sequence[Step]) -> dict[str, Any]:
        calls = [
            {"id": f"call_{n}", "type": "function", "function": _function(each)}
            for n, each in enumerate(steps)
            if isinstance(each, Call)
        ]
        message = {"role": "assistant", "content": _text(steps), **({"tool_calls": calls} if calls else {})}
        choice = {"index": 0, "message": message, "finish_reason": _openai_finish(steps)}
        usage = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}
        return {**self._base("chat.completion"), "choices": [choice], "usage": usage}

    def _frame(self, delta: dict[str, Any] | None, finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        chunk = (
            self._base("chat.completion.chunk") | {"choices": [choice] if delta is not None else []} | more
        )
        return b"data: " + encode(chunk) + b"\n\n"

    def _base(self, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": MODEL}


class Ollama(Wire):
    path = "/api/chat"
    type = "application/x-ndjson"

    def frames(self, step: Step, index: int) -> bytes:
        return self._line(self._answer([step], done=False))

    def end(self, steps: Sequence[Step]) -> bytes:
        return self._line(self._answer([], done=True))

    def _line(self, answer: dict[str, Any]) -> bytes:
        # Go's JSON escapes these two. httpx would split a line at them.
        return (
            encode(answer).replace(b"\xe2\x80\xa8", rb"\u2028").replace(b"\xe2\x80\xa9", rb"\u2029") + b"\n"
        )

    def whole(self, steps: Sequence[Step]) -> dict[str, Any]:
        return self._answer(steps, done=True)

    def error(self, status: Status) -> dict[str, Any]:
        return {"error": status.message}

    def _answer(self, steps: Sequence[Step], *, done: bool) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": _text(steps)}
        if thought := "".join(each.text for each in steps if isinstance(each, Thought)):
            message["thinking"] = thought
        if calls := [each for each in steps if isinstance(each, Call)]:
            message["tool_calls"] = [{"function": {"name": c.name, "arguments": c.args}} for c in calls]
        answer = {"model": MODEL, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": done}
        counts = {"done_reason": "stop", "prompt_eval_count": 12, "eval_count": 4}
        return answer | (counts if done else {})


class Anthropic(Wire):
    path = "/v1/messages"

    def __init__(self) -> None:
        self._started: set[int] = set()  # places of blocks

    def start(self) -> bytes:
        message = {**self._base([]), "usage": {"input_tokens": 12, "output_tokens": 0}}
        return _event("message_start", message=message)

    def frames(self, step: Step, index: int) -> bytes:
        block: dict[str, Any]
        match step:
            case Thought(text):
                place, block = 0, {"type": "thinking", "thinking": "", "signature": ""}
                delta = {"type": "thinking_delta", "thinking": text}
            case Text(text):
                place, block = 1, {"type": "text", "text": ""}
                delta = {"type": "text_delta", "text": text}
            case Call(name, args):
                place, block = (
                    2 + index,
                    {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}},
                )
                delta = {"type": "input_json_delta", "partial_json": json.dumps(args)}
            case _:
                return b""
        is_new = place not in self._started
        self._started.add(place)
        start = _event("content_block_start", index=place, content_block=block) if is_new else b""
        return start + _event("content_block_delta", index=place, delta=delta)

    def end(self, steps: Sequence[Step]) -> bytes:
        delta = {"stop_reason": _anthropic_stop(steps), "stop_sequence": None}
        return _event("message_delta", delta=delta, usage={"output_tokens": 4}) + _event("message_stop")

    def whole(self, steps: Sequence[Step]) -> dict[str, Any]:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": _text(steps)}] if _text(steps) else []
        blocks += [
            {"type": "tool_use", "id": f"toolu_{n}", "name": each.name, "input": each.args}
            for n, each in enumerate(steps)
            if isinstance(each, Call)
        ]
        usage = {"input_tokens": 12, "output_tokens": 4}
        return {**self._base(blocks), "stop_reason": _anthropic_stop(steps), "usage": usage}

    def _base(self, blocks: list[dict[str, Any]]) -> dict[str, Any]:
        base = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": blocks}
        return base | {"stop_reason": None, "stop_sequence": None}


def _newest_question(body: dict[str, Any]) -> str:
    """Return the text of the newest message of the user, not of a tool's answer."""
    for message in reversed(body["messages"]):
        content = message.get("content") or ""
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        if message["role"] == "user" and text:
            return text
    return ""


def _text(steps: Sequence[Step]) -> str:
    return "".join(each.text for each in steps if isinstance(each, Text))


def _function(call: Call) -> dict[str, str]:
    return {"name": call.name, "arguments": json.dumps(call.args)}


def _openai_finish(steps: Sequence[Step]) -> str:
    scripted = next((each.reason for each in steps if isinstance(each, Finish)), "")
    return scripted or ("tool_calls" if any(isinstance(each, Call) for each in steps) else "stop")


def _anthropic_stop(steps: Sequence[Step]) -> str:
    return "tool_use" if any(isinstance(each, Call) for each in steps) else "end_turn"


async def _send_all(writer: asyncio.StreamWriter, frames: Sequence[bytes]) -> None:
    for frame in frames:
        if frame:  # an empty chunk would end the body
            send_chunk(writer, frame)
    await writer.drain()


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + encode({"type": kind, **fields}) + b"\n\n"
