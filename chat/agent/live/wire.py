"""The wire to a model that speaks: files have their bytes, and Google's notice to go waits for a pause."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import Any

from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.models.base_llm_connection import BaseLlmConnection, RealtimeInput
from google.adk.models.gemini_llm_connection import GeminiLlmConnection
from google.genai import types

from chat.agent.live import sound_path
from chat.agent.live.sound_path import ShortPath
from chat.agent.memory import run_files
from chat.agent.memory.request_files import fill

CONNECT = "connect"
# Before the end of the time that Google leaves, and without a time.
GO_AWAY_MARGIN = 2.0
GO_AWAY_SECONDS = 5.0

# Called when the model's socket is open; the argument is whether it resumes one that was open before, without
# a pause between two answers. Set for the tasks of a connection.
opened: ContextVar[Callable[[bool], None] | None] = ContextVar("live_opened", default=None)
# Called when the member interrupts a tool: ADK 2.13 reads no response of the model before the tool has ended.
tool_interrupted: ContextVar[Callable[[], None] | None] = ContextVar("live_tool_interrupted", default=None)


def with_own_wire(model: BaseLlm) -> BaseLlm:
    """Return a copy of a live model whose connections are as this module says."""
    copied = model.model_copy()
    plain: Callable[[LlmRequest], Any] = getattr(copied, CONNECT)

    @asynccontextmanager
    async def connect(llm_request: LlmRequest) -> AsyncIterator[BaseLlmConnection]:
        await fill_files(llm_request)
        async with plain(llm_request) as connection:
            resumption = llm_request.live_connect_config.session_resumption
            if report := opened.get():
                report(bool(resumption and resumption.handle))
            patient = PatientConnection(connection)
            short_path = sound_path.current_short_path.get()
            if short_path and isinstance(connection, GeminiLlmConnection):
                patient.shorten(connection, short_path)
            yield patient

    # On the object: a subclass would be another class. Pydantic refuses an ordinary assignment.
    object.__setattr__(copied, CONNECT, connect)
    return copied


async def fill_files(request: LlmRequest) -> None:
    """Give the history the bytes of its files: no callback of ADK sees it before it is sent."""
    if files := run_files.current_files.get():
        await fill(request, files)


class PatientConnection(BaseLlmConnection):
    """A connection that passes Google's notice to go on after the running answer, if the time allows it.

    ADK 2.13 reconnects with the notice, which cuts the answer off.
    """

    def __init__(self, connection: BaseLlmConnection) -> None:
        self._connection = connection
        self._is_busy = False  # an answer is expected or runs
        self._calls = False  # the model has called tools and has no results yet
        self._notice: LlmResponse | None = None
        self._leave_at = 0.0

    def shorten(self, connection: GeminiLlmConnection, short_path: ShortPath) -> None:
        """Let sound of both sides pass ADK by."""

        def take(blob: types.Blob) -> None:
            self._is_busy = True
            short_path.take(blob)

        short_path.open(connection, take)

    async def send_history(self, history: list[types.Content]) -> None:
        self._is_busy = self._is_busy or bool(history and history[-1].role == "user")
        await self._connection.send_history(history)

    async def send_content(self, content: types.Content) -> None:
        await self._send_content(content)

    async def _send_content(self, content: types.Content, *, partial: bool = False) -> None:
        self._is_busy = True
        if any(part.function_response for part in content.parts or ()):
            self._calls = False
        await self._connection._send_content(content, partial=partial)

    async def send_realtime(self, blob: RealtimeInput) -> None:
        self._is_busy = self._is_busy or isinstance(blob, types.ActivityStart)
        sent: Any = blob  # Gemini's own connection has this type, and ADK's base class only blobs
        await self._connection.send_realtime(sent)

    async def close(self) -> None:
        await self._connection.close()

    async def receive(self) -> AsyncGenerator[LlmResponse, None]:
        async with aclosing(self._connection.receive()) as source:
            while not self._must_go():
                try:
                    response = await (self._within_time(source) if self._notice else anext(source))
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    break
                if response.go_away:
                    self._keep_notice(response)
                else:
                    self._note(response)
                    yield response
            assert self._notice
            yield self._notice

    def _must_go(self) -> bool:
        return bool(self._notice) and (not self._is_busy or self._left() <= 0)

    async def _within_time(self, source: AsyncGenerator[LlmResponse, None]) -> LlmResponse:
        async with asyncio.timeout(self._left()):
            return await anext(source)

    def _note(self, response: LlmResponse) -> None:
        parts = (response.content.parts if response.content else None) or ()
        self._calls = self._calls or any(part.function_call for part in parts)
        if response.turn_complete:
            self._is_busy = self._calls
        elif response.content or response.output_transcription or response.input_transcription:
            self._is_busy = True

    def _keep_notice(self, response: LlmResponse) -> None:
        self._notice = response
        seconds = seconds_in(response.go_away.time_left if response.go_away else None)
        self._leave_at = asyncio.get_running_loop().time() + seconds

    def _left(self) -> float:
        return max(0.0, self._leave_at - asyncio.get_running_loop().time())


def seconds_in(time_left: str | None) -> float:
    """Return how long an answer may go on after Google's notice, which says for example ``10s``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)s", time_left or "")
    return max(0.0, float(found[1]) - GO_AWAY_MARGIN) if found else GO_AWAY_SECONDS
