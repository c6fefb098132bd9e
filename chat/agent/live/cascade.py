"""Any text model with speech-to-text and text-to-speech: ADK's cascade, with the words that were heard.

ADK estimates by the clock how much of an interrupted answer was heard. Here the call says it, so the next
model call is given exactly what is stored.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from django.conf import settings
from google.adk.live import CascadeLive, LiveEgress, LiveIngress, UserSpeechStarted, UserTurnFinished
from google.adk.live._cascade_live_connection import CascadeLiveConnection, _State
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.models.base_llm_connection import BaseLlmConnection, RealtimeInput
from google.genai import types

from chat.agent.live import wire
from chat.agent.live.session import LiveSession, current_session, unrecorded
from chat.agent.memory import run_files
from chat.agent.memory.request_files import fill
from chat.agent.turn.failure_codes import AgentFailure
from chat.agent.turn.interruption import INTERRUPTED_RESULT

CALL_PREFIX = "adk-"  # of ids that ADK makes itself
HEARD_SECONDS = 3.0
AUDIO_FRAMES = 1_000  # that wait for speech-to-text
TURN_FAILED = "CASCADE_TURN_FAILED"  # ADK's error code for any exception in a turn


class HeardCascade(CascadeLive):
    """A cascade of a call. Outside a call it is its text model."""

    @property
    def text_model(self) -> BaseLlm:
        return self._resolve_llm()

    @asynccontextmanager
    async def connect(self, llm_request: LlmRequest) -> AsyncIterator[BaseLlmConnection]:
        await wire.fill_files(llm_request)
        session = current_session.get()
        assert session, "a cascade of a call is connected in a call"
        connection = HeardConnection(llm_request, self.text_model, self.stt, self.tts, session)
        if report := wire.opened.get():
            report(False)
        try:
            yield connection
        finally:
            await connection.close()


class HeardConnection(CascadeLiveConnection):
    """ADK's connection, with the heard words of the call, its failures as they are, and results that pair."""

    def __init__(
        self,
        llm_request: LlmRequest,
        llm: BaseLlm,
        stt: LiveIngress,
        tts: LiveEgress,
        session: LiveSession,
    ) -> None:
        # Typed as ADK's classes, of which its connection uses only these calls.
        counted: Any = _CountedModel(llm, self._emit)
        speak: Any = self._speak
        self._voice, self._session = tts, session
        self._failure: Exception | None = None
        self._open_calls: dict[str, str] = {}  # names by id
        self._ending: asyncio.Task[None] | None = None
        super().__init__(llm_request, counted, stt, speak)
        self._settled = asyncio.Event()  # no interruption waits for its heard words
        self._settled.set()
        self._said: list[str] = []  # of this turn, in ``_contents``
        self._dropped_calls: set[str] = set()  # the member interrupted before their results
        self._later: list[types.Content] = []  # the member's words during a call

    # --- from the member --------------------------------------------------------------------------

    async def send_content(self, content: types.Content) -> None:
        results = [part.function_response for part in content.parts or () if part.function_response]
        if not results:
            if not (content.parts and any(part.text and part.text.strip() for part in content.parts)):
                return
            await self._on_speech_started(UserSpeechStarted())  # typed words interrupt, too
            await self._add_question(content)
            return
        known = {result.id or "" for result in results}
        if known & self._dropped_calls:
            self._dropped_calls -= known
            return
        for call_id in known:
            self._open_calls.pop(call_id, None)
        await self._add(content)
        if not self._open_calls:
            self._contents += self._later
            self._later = []
            self._start_reasoning()

    async def _add_question(self, content: types.Content) -> None:
        await self._settled.wait()
        if self._open_calls:  # between a call and its result, providers refuse the request
            self._later.append(content)
            return
        self._said = []
        await self._add(content)
        self._start_reasoning()

    async def _add(self, content: types.Content) -> None:
        if files := run_files.current_files.get():
            request = LlmRequest(contents=[content])
            await fill(request, files)
            [content] = request.contents
        self._contents.append(content)

    async def send_realtime(self, blob: RealtimeInput) -> None:
        # While speech-to-text is slow: a frame has 20 ms.
        if not (isinstance(blob, types.Blob) and self._audio_in.qsize() >= AUDIO_FRAMES):
            await super().send_realtime(blob)

    async def _on_user_turn_finished(self, event: UserTurnFinished) -> None:
        if not event.text.strip():  # noise
            return
        said = types.Transcription(text=event.text, finished=True)
        self._emit(LlmResponse(input_transcription=said, partial=False))
        await self._add_question(types.Content(role="user", parts=[types.Part(text=event.text)]))

    async def _on_speech_started(self, event: UserSpeechStarted) -> None:
        del event
        is_answering = self._state in (_State.THINKING, _State.AGENT_SPEAKING)
        if self._closed or not (is_answering or self._open_calls):
            return
        self._cancel.set()
        if self._turn is not None and not self._turn.done():
            self._turn.cancel()
        self._input_ready.clear()
        self._pending_function_call = None
        self._state = _State.LISTENING
        self._settled.clear()
        report = wire.tool_interrupted.get() if self._open_calls else None
        self._close_calls()
        if report:
            report()
        else:
            self._emit(LlmResponse(interrupted=True))
        try:
            await self._keep_heard()
        finally:
            self._settled.set()

    async def _keep_heard(self) -> None:
        """Keep what was heard of the answer."""
        heard = await self._heard()
        if heard is None:
            self._record_spoken(heard_only=True)  # ADK's estimate
        elif rest := unrecorded(heard, self._said):
            self._contents.append(types.Content(role="model", parts=[types.Part(text=rest)]))
        self._spoken_marks = []
        later, self._later = self._later, []
        self._contents += later

    def _close_calls(self) -> None:
        """Give the open calls a result, and drop the one that comes."""
        if self._open_calls:
            parts = [
                types.Part(
                    function_response=types.FunctionResponse(
                        id=call_id, name=name, response=INTERRUPTED_RESULT
                    )
                )
                for call_id, name in self._open_calls.items()
            ]
            self._contents.append(types.Content(role="user", parts=parts))
            self._dropped_calls |= self._open_calls.keys()
            self._open_calls = {}

    async def _heard(self) -> str | None:
        """Return the heard text of the interrupted reply, or None if the call does not say it."""
        if self._session.heard is None:
            return None
        try:
            async with asyncio.timeout(HEARD_SECONDS):
                return await self._session.heard()
        except TimeoutError:
            return None

    # --- to the member ----------------------------------------------------------------------------

    async def _run_turn(self) -> None:
        await self._settled.wait()
        await super()._run_turn()

    def _record_spoken(self, *, heard_only: bool) -> None:
        if not heard_only and (said := "".join(text for _start, text in self._spoken_marks)):
            self._said.append(said)
        super()._record_spoken(heard_only=heard_only)

    async def _stream_text(self) -> AsyncGenerator[str, None]:
        usage = self._session.calls.usage
        if usage.calls >= settings.MODEL_CALLS:
            raise AgentFailure("limit", "The model calls tools again and again.")
        usage.calls += 1
        async with aclosing(super()._stream_text()) as texts:
            async for text in texts:
                yield text

    async def _speak(self, text: AsyncIterator[str], *, cancel: asyncio.Event) -> AsyncGenerator[Any, None]:
        """Say the text by the voice. An exception, also of the model, is kept: ADK names it no more."""
        try:
            async with aclosing(self._voice(text, cancel=cancel)) as spoken:
                async for event in spoken:
                    yield event
        except Exception as error:
            self._failure = error
            raise

    def _emit(self, response: LlmResponse) -> None:
        if response.error_code == TURN_FAILED and self._failure:
            self._error = self._failure  # which ``receive`` raises
            self._ending = asyncio.ensure_future(self.close())  # it cancels this task
            return
        for part in (response.content.parts if response.content else None) or ():
            if call := part.function_call:
                call.id = call.id or f"{CALL_PREFIX}{uuid.uuid4()}"  # also in what the model is sent again
                self._open_calls[call.id] = call.name or ""
        super()._emit(response)


class _CountedModel:
    """The text model as ADK's connection calls it, which reads only contents: the usage would be lost."""

    def __init__(self, llm: BaseLlm, emit: Callable[[LlmResponse], None]) -> None:
        self.model = llm.model
        self._llm, self._report = llm, emit

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        async with aclosing(self._llm.generate_content_async(llm_request, stream=stream)) as responses:
            async for response in responses:
                if response.usage_metadata and not response.partial:
                    usage, version = response.usage_metadata, response.model_version or self.model
                    self._report(LlmResponse(usage_metadata=usage, model_version=version))
                yield response
