"""One connection of a call to its model: ADK's ``Runner.run_live``, translated as it runs."""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.events import Event as AdkEvent
from google.adk.utils._sync_runner import _get_tool_thread_pool, _use_executor_for_sync_callables
from google.genai import errors, types
from websockets.exceptions import ConnectionClosed, WebSocketException

from chat.agent.agents import catalog
from chat.agent.live import sound, sound_path, wire
from chat.agent.live.events import Audio, Handle, Heard, Interrupted, LiveEvent, Shown, TurnComplete
from chat.agent.live.requests import InputQueue, confirmation_of, tell_waiting
from chat.agent.live.session import LiveSession, current_session, live_session_service
from chat.agent.live.sound_path import INPUT_MIME, ShortPath, may_be_short
from chat.agent.live.voices import Voice
from chat.agent.memory import model_calls, run_files
from chat.agent.memory.payload import calls_of, encode_event
from chat.agent.turn import containment
from chat.agent.turn.containment import contained_stream
from chat.agent.turn.failure_codes import AgentFailure, failure_of_event, failure_of_exception
from chat.agent.turn.reply import TELEMETRY
from chat.agent.turn.translation import MODEL, USER
from chat.database import run_db_patiently
from chat.events import Event

END_SECONDS = 1.0  # between the cancellations of a connection's task
END_CANCELLATIONS = 3
# A server that closes each connection at once would be asked again without a pause.
OPENINGS, OPENINGS_SECONDS = 8, 60.0
NO_REASONS = {"TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT"}  # why a turn is complete: no failures
CLOSED_FOR_KEY = re.compile(r"api.?key|permission|unauthenticated|credential", re.IGNORECASE)
CLOSED_FOR_MODEL = re.compile(
    r"model.{0,80}(not found|not supported)|not found for API version", re.IGNORECASE
)
CLOSED_FOR_QUOTA = re.compile(r"quota|rate.?limit|exhausted", re.IGNORECASE)

_ignoring: "set[asyncio.Task[None]]" = set()  # of agents that ignore their cancellation


@dataclass(frozen=True, slots=True)
class _ToRecord:
    """An event that ADK appends: it goes on when the run of the turn has stored it."""

    payload: str
    done: "asyncio.Future[None]"


@dataclass(frozen=True, slots=True)
class _Opened:
    """The model's socket is open, ``resumes`` says whether with a handle."""

    resumes: bool


@dataclass(frozen=True, slots=True)
class _WaitsForPerson:
    """A tool that takes long has begun, and its call has no result yet."""


class _ToolInterrupted:
    """The member has interrupted a tool."""


class _End:
    """ADK has ended."""


# A blob is sound that ADK has not seen.
Item = AdkEvent | _ToRecord | _Opened | _WaitsForPerson | _ToolInterrupted | types.Blob | _End


class LiveConnection:
    """One connection of a call to its model. Read ``events()``; then it is over.

    What is heard, read and so on before the model's socket is open, reaches it then.

    ``take_sound`` gets pieces of the answer as soon as they come; those for which it returns False, and those
    that come while ``events()`` has not yet yielded what came before, are events.
    """

    def __init__(
        self,
        session: LiveSession,
        voice: Voice,
        *,
        manual: bool,
        handle: str | None,
        take_sound: Callable[[bytes], bool] = lambda _pcm: False,
    ) -> None:
        self._session, self._voice, self._is_manual, self._handle = session, voice, manual, handle
        self._take_sound = take_sound
        self._short_path = ShortPath(self._pass_sound_on) if may_be_short(voice.runner) else None
        self.queue = InputQueue()
        self._inbox: asyncio.Queue[Item] = asyncio.Queue()
        self._has_yielded_all = False  # and waits for the next item
        self._closing = asyncio.Event()
        self._over = asyncio.Event()  # ADK has left the session
        self._openings: deque[float] = deque(maxlen=OPENINGS)
        self._is_native = voice.kind == "native"
        self._is_active = False  # the member's activity, as the model was told
        self._calls: dict[str, dict[str, Any]] = {}  # of the connection's tools, by id
        self._model_calls = 0  # with tools, in this turn
        # Of the current answer:
        self._caption: list[str] = []  # since the last call
        self._has_partial_caption = False  # since the last whole transcript
        self._has_partial_thought = False
        self._written: list[str] = []  # text beside the transcript
        self._writing = ""  # pieces of more of it
        self._has_output = False
        self._awaits_more = False  # the model has results of its calls, and has not answered to them
        self._skips_complete = False  # the model was interrupted, which Gemini completes too
        # Of the member:
        self._heard = ""
        self._question = ""  # which the model has not begun to answer

    # --- to the model -----------------------------------------------------------------------------

    def hear(self, pcm: bytes) -> None:
        """Send what the microphone hears: PCM, 16 kHz. Beyond 16 s that wait, it is dropped."""
        if not (self._short_path and self.queue.is_idle and self._short_path.send(pcm)):
            self.queue.send_realtime(types.Blob(data=pcm, mime_type=INPUT_MIME))

    def read(self, text: str) -> None:
        """Send typed words, a whole turn of the member."""
        self.end()
        self._question = text
        self.queue.send_content(types.Content(role="user", parts=[types.Part(text=text)]))

    def start(self) -> None:
        """Say that the member begins to speak, which interrupts an answer."""
        if not self._is_active:
            self._is_active = True
            self.queue.send_activity_start()

    def end(self) -> None:
        """Say that the member has spoken."""
        if self._is_active:
            self._is_active = False
            self.queue.send_activity_end()

    def mute(self) -> None:
        """Say that no audio follows for now."""
        if not self._is_manual:
            self.queue.send_audio_stream_end()

    def interrupt(self) -> None:
        """End the running answer. Not for a native voice that detects activity itself."""
        self._is_active = self._is_native
        self.queue.send_activity_start()

    def close(self) -> None:
        """Let ``events()`` end."""
        self._closing.set()
        self.queue.close()
        self._inbox.put_nowait(_End())

    # --- from the model ---------------------------------------------------------------------------

    async def events(self) -> AsyncGenerator[LiveEvent, None]:
        """Yield what the model does. Raises AgentFailure; the call may open another connection then.

        Between two events, the consumer begins and ends turns: an empty ``Shown`` asks for a turn.
        """
        session = self._session
        scope = containment.AgentScope(session.data.agent, "", self._closing)
        before, session.connection_over = session.connection_over, self._over
        pump = containment.begin(self._pump(before), scope)
        pump.add_done_callback(lambda _task: self._inbox.put_nowait(_End()))
        try:
            while not isinstance(item := await self._next_item(), _End):
                if isinstance(item, types.Blob):
                    self._begin_output()
                    for pcm in sound.played_pieces(item):
                        yield Audio(pcm)
                    continue
                async for event in self._handle_item(item):
                    yield event
            if pump.done() and not self._closing.is_set():
                await pump
        except Exception as error:
            raise self._failure(error) from error
        finally:
            self._closing.set()
            self.queue.close()
            await self._cancel(pump)
            self._over.set()

    async def _next_item(self) -> Item:
        self._has_yielded_all = True
        try:
            return await self._inbox.get()
        finally:
            self._has_yielded_all = False

    def _pass_sound_on(self, blob: types.Blob) -> None:
        data = blob.data or b""
        if (
            self._has_yielded_all
            and self._inbox.empty()
            and sound.is_played_as_it_is(blob.mime_type or "", data)
            and self._take_sound(data)
        ):
            self._begin_output()
        else:
            self._inbox.put_nowait(blob)

    async def _cancel(self, pump: "asyncio.Task[None]") -> None:
        for _attempt in range(END_CANCELLATIONS):
            if pump.done():
                break
            pump.cancel()
            await asyncio.wait([pump], timeout=END_SECONDS)
        if pump.done():
            if not pump.cancelled():
                pump.exception()  # read it, so that asyncio does not log it: ``events`` has raised it
        else:
            _ignoring.add(pump)
            pump.add_done_callback(_ignoring.discard)

    async def _pump(self, before: asyncio.Event | None) -> None:
        """Run ADK, and put what it yields into the inbox, once the connection ``before`` is over."""
        if before:
            await before.wait()
        session, voice = self._session, self._voice
        model_calls.current.set(session.calls)
        run_files.current_files.set(session.files)
        current_session.set(session)
        tell_waiting.set(self._tell_waiting)
        wire.opened.set(self._report_opened)
        sound_path.current_short_path.set(self._short_path)
        wire.tool_interrupted.set(lambda: self._inbox.put_nowait(_ToolInterrupted()))
        await run_db_patiently(session.reload)
        session.root = voice.runner.agent
        session.data.record = self._record
        threads = _get_tool_thread_pool(settings.TOOL_THREADS)
        with (
            catalog.in_use(voice.text_runner),
            live_session_service.attached(session.data),
            # ADK's own setting for it would run asynchronous tools on other event loops in a call.
            _use_executor_for_sync_callables(threads),
        ):
            try:
                await self._run(self._handle)
            except Exception:
                if self._handle is None or self._openings or self._closing.is_set():
                    raise
                # The provider does not know the handle any more: the history is sent instead.
                await self._run(None)

    async def _run(self, handle: str | None) -> None:
        data = self._session.data
        stream = self._voice.runner.run_live(
            user_id=data.user_id,
            session_id=data.conversation_id,
            live_request_queue=self.queue,
            run_config=live_config(manual=self._is_manual, handle=handle),
        )
        async with aclosing(contained_stream(stream)) as adk_events:
            async for adk_event in adk_events:
                self._inbox.put_nowait(adk_event)

    def _report_opened(self, resumes: bool) -> None:
        now = time.monotonic()
        if len(self._openings) == OPENINGS and now - self._openings[0] < OPENINGS_SECONDS:
            raise AgentFailure("unavailable", "The model's server closes each connection.")
        resumes = resumes and bool(self._openings)
        self._openings.append(now)
        self._inbox.put_nowait(_Opened(resumes))

    async def _record(self, payload: str, *, can_wait: bool = False) -> None:
        """Store an event of ADK: in order with what was shown, and in the run of its turn."""
        del can_wait
        await asyncio.sleep(0)  # the event before it is on its way to the inbox
        if self._closing.is_set():
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(_ToRecord(payload, done))
        await done

    def _tell_waiting(self, call_id: str, name: str) -> None:
        """Answer a call whose result comes later than this connection."""
        self.queue.tell_waiting(call_id, name)
        self._inbox.put_nowait(_WaitsForPerson())

    async def _handle_item(self, item: Item) -> AsyncGenerator[LiveEvent, None]:
        match item:
            case _ToRecord():
                async for event in self._store_item(item):
                    yield event
            case _Opened(resumes=True):
                self._continue()
            case _WaitsForPerson():
                self._awaits_more = True
            case _ToolInterrupted():
                for each in await self._interruption():
                    yield each
            case AdkEvent():
                for each in await self._understand(item):
                    yield each

    def _continue(self) -> None:
        """Go on after a lost connection: the provider's session is that of the last handle."""
        if self._has_output:
            raise AgentFailure("unavailable", "The connection to the model was lost during an answer.")
        if self._question:
            self.queue.send_content(types.Content(role="user", parts=[types.Part(text=self._question)]))

    async def _store_item(self, item: _ToRecord) -> AsyncGenerator[LiveEvent, None]:
        try:
            async for event in self._store(item.payload):
                yield event
        except Exception as error:
            if not item.done.done():
                item.done.set_exception(error)
                item.done.exception()  # ADK may be gone already
            raise
        if not item.done.done():
            item.done.set_result(None)

    async def _store(self, payload: str) -> AsyncGenerator[LiveEvent, None]:
        session = self._session
        if session.is_late(payload):
            return
        if not session.needs_turn(payload):
            await session.record(payload)
            return
        if not session.has_turn:
            yield Shown([])
            if not session.has_turn:
                raise RuntimeError("a model acts outside a turn")
        calls = calls_of(payload)
        if calls:
            self._model_calls += 1
            if self._model_calls > settings.MODEL_CALLS:
                raise AgentFailure("limit", "The model calls tools again and again.")
            words, shown = await self._close_words()
            if shown:
                yield Shown(shown)
            if words:
                await session.record_words(words)
        self._calls.update({call["id"]: call for call in calls if call.get("id")})
        if asked := confirmation_of(payload, self._calls):
            waiting = [
                call.args["originalFunctionCall"]["id"] for call in asked.get_function_calls() if call.args
            ]
            self.queue.mark_waiting(waiting)
            await session.record(encode_event(asked))
            yield Shown(await session.translator.add(asked))
        await session.record(payload)

    async def _understand(self, adk_event: AdkEvent) -> list[LiveEvent]:
        """Return what the event says, in order."""
        update = adk_event.live_session_resumption_update
        if update:
            is_handle = update.new_handle and update.resumable is not False
            return [Handle(update.new_handle)] if is_handle and update.new_handle else []
        self._session.invocation_id = adk_event.invocation_id or self._session.invocation_id
        if adk_event.usage_metadata:
            model_calls.add_tokens(self._session.calls.usage, adk_event.usage_metadata)
        if adk_event.input_transcription:
            return self._hear_transcript(adk_event.input_transcription)
        if adk_event.author == USER and not adk_event.get_function_responses():
            return []
        if adk_event.author not in (MODEL, ""):
            self._session.speaker = adk_event.author
        self._session.translator.model = adk_event.model_version or self._session.translator.model
        if adk_event.output_transcription:
            return await self._caption_of(adk_event)
        found = await self._contents(adk_event)
        return found + await self._turn_end(adk_event)

    def _hear_transcript(self, transcript: types.Transcription) -> list[LiveEvent]:
        text, is_final = transcript.text or "", bool(transcript.finished)
        replaces = is_final or not self._is_native
        self._heard = text if replaces else self._heard + text
        heard = Heard(self._heard, is_final)
        if is_final:
            self._question, self._heard = self._heard or self._question, ""
        return [heard] if heard.text.strip() else []

    async def _caption_of(self, adk_event: AdkEvent) -> list[LiveEvent]:
        transcript = adk_event.output_transcription
        text = (transcript.text if transcript else "") or ""
        if transcript and transcript.finished:
            is_new = not self._has_partial_caption
            self._has_partial_caption = False
            if not is_new:  # it repeats its pieces
                return []
        else:
            self._has_partial_caption = True
        if not text:
            return []
        self._begin_output()
        self._caption.append(text)
        return self._as_shown(await self._add(adk_event, types.Part(text=text), partial=True))

    async def _contents(self, adk_event: AdkEvent) -> list[LiveEvent]:
        """Return the sound and what else the content shows. Text is shown if there is no transcript of it."""
        parts = (adk_event.content.parts if adk_event.content else None) or []
        found: list[LiveEvent] = []
        others, written = [], []
        for part in parts:
            if sound.is_sound(part):
                assert part.inline_data
                found += [Audio(piece) for piece in sound.played_pieces(part.inline_data)]
            elif part.text and part.thought:
                found += await self._thought(adk_event, part)
            elif part.text:
                written.append(part.text)
            elif not self._is_late(part):
                others.append(part)
        if parts and not all(part.function_response for part in parts):
            self._begin_output()
        is_apart = bool(adk_event.branch and "@" in adk_event.branch)  # of a tool that speaks to the member
        if written and (is_apart or adk_event.turn_complete):  # a guardrail's words have no transcript
            found += self._as_shown((await self._close_words())[1])
            self._written = written
            found += self._as_shown((await self._close_words())[1])
        elif written:
            self._write("".join(written), is_whole=not adk_event.partial)
        return found + await self._other_parts(adk_event, others)

    async def _other_parts(self, adk_event: AdkEvent, parts: list[types.Part]) -> list[LiveEvent]:
        """Return what calls, results, files and failures of the event show."""
        if not (parts or adk_event.actions.artifact_delta or adk_event.error_code):
            return []
        _words, shown = await self._close_words()
        content = types.Content(role="model", parts=parts) if parts else None
        changes = {"content": content, "branch": None, "turn_complete": None}
        shown += await self._session.translator.add(adk_event.model_copy(update=changes))
        if any(part.function_response for part in parts):
            self._awaits_more = True
        if failures := self._session.translator.failures:
            raise failures[0]
        return self._as_shown(shown)

    def _write(self, text: str, *, is_whole: bool) -> None:
        """Keep text of the model that is no transcript. A whole one repeats its pieces."""
        if is_whole:
            self._written.append(text)
            self._writing = ""
        else:
            self._writing += text

    def _is_late(self, part: types.Part) -> bool:
        """Return whether it is the result of a call whose turn has ended before."""
        result = part.function_response
        return result is not None and self._session.has_interrupted(result.id or "")

    async def _thought(self, adk_event: AdkEvent, part: types.Part) -> list[LiveEvent]:
        is_repeated = not adk_event.partial and self._has_partial_thought
        self._has_partial_thought = bool(adk_event.partial)
        return [] if is_repeated else self._as_shown(await self._add(adk_event, part, partial=True))

    async def _turn_end(self, adk_event: AdkEvent) -> list[LiveEvent]:
        if not (adk_event.interrupted or adk_event.turn_complete):
            return []
        if adk_event.interrupted:
            found = await self._interruption()
            self._skips_complete = self._is_native and not adk_event.turn_complete
            return found
        if self._skips_complete:
            self._skips_complete = False
            return []
        if self._awaits_more:
            return []
        reason = adk_event.turn_complete_reason
        if reason and reason.value not in NO_REASONS and not self._has_output:
            failure = failure_of_event(reason.value, "")
            raise AgentFailure("blocked", failure.reason) if failure.code == "model_error" else failure
        found = self._as_shown((await self._close_words())[1])
        found += self._as_shown(self._session.translator.flush())  # the sources
        self._count_answer()
        self._end_answer()
        return [*found, TurnComplete()]

    async def _interruption(self) -> list[LiveEvent]:
        found = self._as_shown((await self._close_words())[1])
        self._count_answer()
        self._end_answer()
        return [*found, Interrupted()]

    def _begin_output(self) -> None:
        self._has_output, self._awaits_more, self._skips_complete = True, False, False

    def _end_answer(self) -> None:
        self._caption, self._written, self._writing = [], [], ""
        self._has_partial_caption = self._has_partial_thought = self._has_output = self._awaits_more = False
        self._question, self._model_calls = "", 0

    def _count_answer(self) -> None:
        if self._is_native:  # a cascade counts the calls of its text model itself
            self._session.calls.usage.calls += 1

    async def _close_words(self) -> tuple[str, list[Event]]:
        """End the model's words so far. Return those that were shown, and events for what was not shown."""
        words, written = "".join(self._caption), "".join([*self._written, self._writing])
        self._caption, self._written, self._writing = [], [], ""
        whole = AdkEvent(author=self._session.speaker or MODEL)
        if words:
            return words, await self._add(whole, types.Part(text=words), partial=False)
        if written.strip():
            return written, await self._add(whole, types.Part(text=written), partial=False)
        return "", []

    async def _add(self, adk_event: AdkEvent, part: types.Part, *, partial: bool) -> list[Event]:
        content = types.Content(role="model", parts=[part])
        shown = AdkEvent(author=adk_event.author, content=content, partial=partial)
        return await self._session.translator.add(shown)

    def _as_shown(self, shown: list[Event]) -> list[LiveEvent]:
        return [Shown(shown)] if shown else []

    # --- failures ---------------------------------------------------------------------------------

    def _failure(self, error: Exception) -> AgentFailure:
        if isinstance(error, ConnectionClosed | errors.APIError):
            closed = error.rcvd if isinstance(error, ConnectionClosed) else None
            reason = str(closed.reason if closed else error)
            code = closed.code if closed else getattr(error, "code", 1006)
            if failure := _failure_of_close(code or 1006, reason):
                return failure
        elif isinstance(error, WebSocketException):
            return AgentFailure("unavailable", type(error).__name__)
        is_parleys_agent = self._session.data.agent == settings.AGENT_NAME
        return failure_of_exception(error, is_parleys_agent=is_parleys_agent)


def _failure_of_close(code: int, reason: str) -> AgentFailure | None:
    """Return the failure for a close of the model's socket; None for an HTTP status."""
    if code < 1000:
        return None
    name = f"The model's server closed the connection ({code})."
    for pattern, failure in ((CLOSED_FOR_QUOTA, "rate_limited"), (CLOSED_FOR_KEY, "misconfigured")):
        if pattern.search(reason):
            return AgentFailure(failure, name)
    if CLOSED_FOR_MODEL.search(reason):
        return AgentFailure("misconfigured", f"{name} It has no such model: check LIVE_MODEL.")
    return AgentFailure("model_error" if code in (1003, 1007) else "unavailable", name)


def live_config(*, manual: bool, handle: str | None) -> RunConfig:
    detection = types.AutomaticActivityDetection(disabled=True)
    return RunConfig(
        streaming_mode=StreamingMode.BIDI,
        response_modalities=[types.Modality.AUDIO],
        input_audio_transcription=types.AudioTranscriptionConfig(),
        output_audio_transcription=types.AudioTranscriptionConfig(),
        # Without it Google ends a session of sound after 15 minutes.
        context_window_compression=types.ContextWindowCompressionConfig(sliding_window=types.SlidingWindow()),
        session_resumption=types.SessionResumptionConfig(handle=handle),
        realtime_input_config=types.RealtimeInputConfig(automatic_activity_detection=detection)
        if manual
        else None,
        max_llm_calls=settings.MODEL_CALLS,
        telemetry=TELEMETRY,
    )
