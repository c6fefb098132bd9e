"""Requests to a person in a call: ADK 2.13 neither asks in its live flow nor answers a call that waits.

The request is stored as in writing, and the model learns that the call waits.
"""

import inspect
import json
import uuid
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from google.adk.events import Event as AdkEvent
from google.adk.live import LiveRequest, LiveRequestQueue
from google.adk.plugins import BasePlugin
from google.adk.tools import BaseTool, ToolContext
from google.adk.utils._function_call_names import REQUEST_CONFIRMATION_FUNCTION_CALL_NAME
from google.genai import types

# The result of a call that waits, as only the model gets it: the session keeps ADK's.
WAITING_RESULT = {
    "status": "waiting for a person",
    "advice": "A person decides this in writing, in the conversation. Say so, and do not call it again.",
}
JOINED_BYTES = 8 * 1024  # a quarter of a second
QUEUED_BYTES = 512 * 1024  # of audio that waits for the model's socket: 16 s


class InputQueue(LiveRequestQueue):
    """Input of the model. Audio beyond QUEUED_BYTES is dropped; results of waiting calls are replaced."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0
        self._newest: types.Blob | None = None  # the last request, if it is audio that still waits
        self._waiting: set[str] = set()
        self._is_read = False
        self.is_shared = False  # ADK gives copies of what is queued to a tool that listens

    @property
    def is_idle(self) -> bool:
        """Return whether all that was queued has been sent, and nobody but the model hears it."""
        return self._is_read and self._queue.empty() and not self.is_shared

    def mark_waiting(self, calls: Iterable[str]) -> None:
        """Replace the results of these calls, which come next."""
        self._waiting.update(calls)

    def tell_waiting(self, call_id: str, name: str) -> None:
        """Answer a call that has no result: a live model may wait for it."""
        result = types.FunctionResponse(id=call_id, name=name, response=WAITING_RESULT)
        super().send_content(types.Content(role="user", parts=[types.Part(function_response=result)]))

    def send_content(self, content: types.Content, partial: bool = False) -> None:
        self._newest = None
        parts = [self._as_told(part) for part in content.parts or ()]
        super().send_content(content.model_copy(update={"parts": parts}), partial)

    def _as_told(self, part: types.Part) -> types.Part:
        result = part.function_response
        if result is None or result.id not in self._waiting:
            return part
        own = {key: value for key, value in (result.response or {}).items() if key != "error"}
        told = result.model_copy(update={"response": {**own, **WAITING_RESULT}})
        return part.model_copy(update={"function_response": told})

    def send_realtime(self, blob: types.Blob) -> None:
        """Queue audio. While the socket is behind, frames are joined: each costs 0.15 ms of CPU."""
        size = len(blob.data or b"")
        if self._bytes + size > QUEUED_BYTES:
            return
        self._bytes += size
        waiting = self._newest
        if waiting and waiting.data and len(waiting.data) + size <= JOINED_BYTES:
            waiting.data += blob.data or b""
        else:
            super().send_realtime(blob)
            self._newest = blob

    def send_activity_start(self) -> None:
        self._newest = None
        super().send_activity_start()

    def send_activity_end(self) -> None:
        self._newest = None
        super().send_activity_end()

    def send_audio_stream_end(self) -> None:
        self._newest = None
        super().send_audio_stream_end()

    async def get(self) -> LiveRequest:
        self._is_read = True
        try:
            request = await super().get()
        finally:
            self._is_read = False
        if request.blob:
            self._bytes -= len(request.blob.data or b"")
            if request.blob is self._newest:
                self._newest = None
        return request


def confirmation_of(payload: str, calls: dict[str, dict[str, Any]]) -> AdkEvent | None:
    """Return the event by which ADK asks in writing, for the result that requests a confirmation.

    ``payload`` is the stored event of the result, ``calls`` are the calls of the turn by id.
    """
    event = json.loads(payload)
    requested = (event.get("actions") or {}).get("requestedToolConfirmations") or {}
    asked = {call_id: requested[call_id] for call_id in requested if call_id in calls}
    if not asked:
        return None
    parts, ids = [], set()
    for call_id, confirmation in asked.items():
        request_id = f"adk-{uuid.uuid4()}"
        ids.add(request_id)
        args = {"originalFunctionCall": calls[call_id], "toolConfirmation": confirmation}
        call = types.FunctionCall(id=request_id, name=REQUEST_CONFIRMATION_FUNCTION_CALL_NAME, args=args)
        parts.append(types.Part(function_call=call))
    return AdkEvent(
        invocation_id=event.get("invocationId", ""),
        author=event.get("author", ""),
        branch=event.get("branch"),
        content=types.Content(role="model", parts=parts),
        long_running_tool_ids=ids,
    )


# Answers a call, by its id and name, whose result comes later. Set for the tasks of a connection.
tell_waiting: ContextVar[Callable[[str, str], None] | None] = ContextVar("live_tell_waiting", default=None)


class CallTools(BasePlugin):
    """Lets tools listen in a call, and wait for a person."""

    async def before_tool_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext
    ) -> None:
        """Let all input go through the queue for a tool that listens, of which ADK gives it copies."""
        queue = tool_context._invocation_context.live_request_queue
        function = getattr(tool, "func", None)
        if isinstance(queue, InputQueue) and function:
            queue.is_shared |= "input_stream" in inspect.signature(function).parameters

    async def after_tool_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext, result: Any
    ) -> None:
        """Tell a live model that a call without a result waits: it may say nothing before."""
        tell = tell_waiting.get()
        is_live = tool_context._invocation_context.live_request_queue is not None
        call_id = tool_context.function_call_id
        if tell and is_live and call_id and tool.is_long_running and not result:
            tell(call_id, tool.name)
