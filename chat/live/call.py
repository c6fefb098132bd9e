"""A call: its connections to a model, its turns one after another, and the client that listens.

Events of the model and wishes of the client are taken one by one, under one lock. Audio and ``played`` go
past it.
"""

import asyncio
import contextvars
import logging
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from accounts.models import User
from chat import events, lifecycle
from chat.agent.live.connection import LiveConnection
from chat.agent.live.events import Audio, Handle, Heard, Interrupted, LiveEvent, Shown, TurnComplete
from chat.agent.live.session import LiveSession
from chat.agent.live.voices import NoVoice, Voice, voice_of
from chat.agent.turn.failure_codes import AgentFailure
from chat.calls import keeping
from chat.calls.closing import CallEnd, CallRefused
from chat.calls.models import LiveCall
from chat.database import run_db
from chat.endings import MODERATED, SENTENCES, End
from chat.events import Event
from chat.live import registry
from chat.live.heard import SpokenWords
from chat.live.turn import INTERRUPTED_TURN, SIGNS, WHOLE, Draining, Turn, start_turn
from chat.models import Run
from chat.refusals import Refusal
from chat.runs.execution import HANDED_OVER, deliver_rows, end_from_log, log_failure
from chat.runs.supervisor import supervisor
from chat.text import message_text

log = logging.getLogger(__name__)

RATE = 24_000  # samples a second of the answer
PLAYED_SECONDS = 0.4  # how long an interrupted turn waits for the client's last report
PLAYED_PAUSE_SECONDS = 0.05  # after a report: one that was on its way may come before the last one
INTERRUPT_SECONDS = 2.0  # in which a model obeys an interruption
FAILURES_MAX = 3  # in a row, with which a call ends
REOPEN_SECONDS = 1.0  # after a failure, before the sound of a microphone opens a connection
WAITING_BYTES = 512 * 1024  # of the microphone's sound, while a connection is opened
STRAY_BYTES = 6_400  # 200 ms of it
WAITING_TEXTS = 8  # typed while the model answers
LEFT_BEHIND_SECONDS = 1.5  # in which the holder before ends its turn
LEFT_BEHIND_LOOK_SECONDS = 0.1

_END_OF_REFUSAL = {
    end.label: end
    for end in (
        CallEnd.SIGNED_OUT,
        CallEnd.NOT_FOUND,
        CallEnd.BUSY,
        CallEnd.LOCKED,
        CallEnd.SUSPENDED,
        CallEnd.WARNED,
        CallEnd.OVER_LIMIT,
    )
}


class Client(Protocol):
    """The socket of a call's member. Its methods neither wait nor raise."""

    def send_audio(self, pcm: bytes) -> None:
        """Send a piece of the answer, or drop it if the client is slow."""

    def send(self, frame: dict[str, Any]) -> None: ...


class Call:
    """A call that this process holds, until it is over."""

    def __init__(self, member: User, row: LiveCall, voice: Voice) -> None:
        self.member = member
        self.row = row
        self.voice = voice
        self.closing: CallEnd | None = None  # why it is over, or is about to be
        self.turn: Turn | None = None
        self._client: Client | None = None
        self._connection: LiveConnection | None = None
        self._is_manual = False
        self._session: LiveSession | None = None
        self._handle: str | None = None
        self._keeps_handle = asyncio.Event()
        self._transcript = SpokenWords()
        self._is_draining = False
        self._failures = 0
        self._reopen_at = 0.0  # time.monotonic()
        self._is_speaking = False  # between ``start`` and ``end``
        self._unsent: deque[bytes] = deque()  # of the microphone, for a connection that is not open yet
        self._unsent_bytes = 0
        self._opens = 0  # queued commands after which the microphone's sound is sent
        self._typed: deque[str] = deque()
        self._early: list[Event] = []  # of an answer that has not begun, for example its agent's name
        self._unclaimed: str | None = None  # heard text that the model is about to ask for
        self._lock = asyncio.Lock()
        self._commands: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._over: asyncio.Future[CallEnd] = asyncio.get_running_loop().create_future()
        self._readers: set[asyncio.Task[None]] = set()
        self._tasks = [_spawn(self._obey()), _spawn(self._keep_handles())]
        self._queue(self._resume)

    # --- the client ---------------------------------------------------------------------------

    def attach(self, client: Client) -> None:
        """Let ``client`` listen in place of the one before."""
        self._client = client
        left = settings.LIVE_SECONDS - (timezone.now() - self.row.opened_at).total_seconds()
        client.send({"type": "ready", "call": str(self.row.pk), "rate": RATE, "seconds": max(0, round(left))})
        if self.turn:
            client.send({"type": "run", "run": str(self.turn.run.pk)})

    def detach(self, client: Client, *, hung_up: bool) -> None:
        """Go on without a client; or end the call, if the client has hung up."""
        if self._client is client:
            self._client = None
            if hung_up:
                self.finish(CallEnd.HUNG_UP)

    async def run(self) -> int:
        """Return the close code when the call is over, or leaves this process."""
        return (await asyncio.shield(self._over)).code

    def finish(self, end: CallEnd) -> None:
        """End the call, and a turn that is running as interrupted. The first end counts."""
        if self.closing is None:
            self.closing = end
            self._queue(self._finish)

    def drain(self) -> None:
        """Leave this process after the running turn, so that another one resumes the call."""
        self._is_draining = True
        self._queue(self._go_on)

    # --- what the client does -----------------------------------------------------------------

    def hear(self, pcm: bytes) -> None:
        """Send sound of the microphone to the model: PCM, 16 bits, mono, 16 kHz."""
        if self.closing or (self._is_draining and not self.turn):
            return
        is_hands_free = not self._is_speaking
        if self._connection and not self._opens and not (self._is_manual and is_hands_free):
            self._connection.hear(pcm)
        elif time.monotonic() >= self._reopen_at and self._unsent_bytes + len(pcm) <= WAITING_BYTES:
            if self._connection and not self._opens and self.turn:
                return  # of a member who has just gone back to hands-free: a model is not interrupted by that
            self._unsent.append(pcm)
            self._unsent_bytes += len(pcm)
            # After the end of a push, a few more frames may come.
            is_stray = self._connection is not None and self._unsent_bytes < STRAY_BYTES
            if not self._opens and not is_stray:
                self._open_for(_begin_speech if self._is_speaking else _listen, manual=self._is_speaking)

    def start(self) -> None:
        """Begin to speak (push to talk). From then on the call listens only between ``start`` and ``end``."""
        self._is_speaking = True
        if self._connection and self._is_manual and not self._opens:
            self._drop_unsent()
            self._connection.start()
        else:
            self._open_for(_begin_speech, manual=True)

    def end(self) -> None:
        """Stop speaking (push to talk)."""
        self._is_speaking = False
        self._when_open(lambda connection: connection.end())

    def mute(self) -> None:
        self._when_open(lambda connection: connection.mute())

    def _when_open(self, wish: Callable[[LiveConnection], None]) -> None:
        if self._opens:

            async def later() -> None:
                if self._connection:
                    wish(self._connection)

            self._queue(later)
        elif self._connection:
            wish(self._connection)

    def read(self, text: str) -> None:
        """Ask in writing."""
        self._queue(partial(self._ask, text))

    def played(self, ms: float) -> None:
        """Take the client's report of how much of this answer was played."""
        if self.turn:
            self.turn.report_played(max(0.0, ms))

    def stop(self) -> None:
        """Interrupt the answer."""
        self._queue(self._stop)

    async def _stop(self) -> None:
        if self.turn:
            await self._cut(self.turn, INTERRUPTED_TURN)

    # --- one after another --------------------------------------------------------------------

    def _queue(self, command: Callable[[], Awaitable[None]]) -> None:
        self._commands.put_nowait(command)

    async def _obey(self) -> None:
        while not self._over.done():
            command = await self._commands.get()
            try:
                async with self._lock:
                    await command()
            except (DatabaseError, InterfaceError) as error:
                log.warning("Call %s: the database did not answer: %s", self.row.pk, error)
                self.finish(CallEnd.UNAVAILABLE)
            except Exception:
                log.exception("Call %s failed inside Parley", self.row.pk)
                self.finish(CallEnd.FAILED)

    async def _finish(self) -> None:
        try:
            if self.turn:
                await self._cut_now(self.turn, INTERRUPTED_TURN, waits=False)
        finally:  # the sweep ends a turn that could not be ended
            self._close()

    def _close(self) -> None:
        self._disconnect()
        registry.unregister_call(self)
        if not self._over.done():
            assert self.closing
            self._over.set_result(self.closing)
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def _go_on(self) -> None:
        """Do what waits for the end of a turn."""
        if self.turn or self.closing:
            return
        if self._is_draining:
            self._send({"type": "resuming"})
            self.closing = CallEnd.RESUMING
            if self._handle:
                await run_db(keeping.store_handle, self.row.pk, self.row.epoch, self._handle)
            self._close()
        elif self._transcript.question:
            await self._begin("")
        elif self._typed:
            await self._ask(self._typed.popleft())

    async def _resume(self) -> None:
        """Take up a call that another process held, or this one before its restart."""
        await _end_left_behind(self.row.conversation_id)
        self._handle = await run_db(keeping.handle_of, self.row.pk)

    # --- connections --------------------------------------------------------------------------

    def _open_for(self, wish: Callable[[LiveConnection], None], *, manual: bool) -> None:
        """Open a connection, send it what waits, and then ``wish``."""
        self._opens += 1

        async def open_it() -> None:
            try:
                if self.closing or self._is_draining:
                    return
                connection = await self._connect(manual=manual)
                wish(connection)
            finally:
                self._opens -= 1
                if self._connection and not self._opens:
                    for pcm in self._unsent:
                        self._connection.hear(pcm)
                if not self._opens:
                    self._drop_unsent()

        self._queue(open_it)

    def _drop_unsent(self) -> None:
        self._unsent.clear()
        self._unsent_bytes = 0

    async def _connect(self, *, manual: bool | None) -> LiveConnection:
        """Return the open connection; one that is ``manual``, or is not, if that is given.

        In a manual one the member pushes to talk; in another one the model hears when somebody speaks.
        """
        if self._connection and manual in (None, self._is_manual):
            return self._connection
        if self._connection and self.turn:
            await self._cut_now(self.turn, INTERRUPTED_TURN)
        self._disconnect()
        if self._session is None:
            session = await run_db(LiveSession.load, self.row.conversation_id)
            session.heard = self._heard_at_interruption
            self._session = session
        self._is_manual = bool(manual)
        connection = LiveConnection(
            self._session,
            self.voice,
            manual=self._is_manual,
            handle=self._handle,
            take_sound=lambda pcm: self._take_sound(connection, pcm),
        )
        self._connection = connection
        reader = _spawn(self._follow(connection))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        return connection

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _forget(self) -> None:
        """Let the next connection be told what is stored, and nothing else."""
        self._handle = self._unclaimed = None
        self._transcript, self._early = SpokenWords(), []

    async def _follow(self, connection: LiveConnection) -> None:
        """Read the events of a connection to its end."""
        failure: AgentFailure | None = None
        try:
            async with aclosing(connection.events()) as stream:
                async for event in stream:
                    async with self._lock:
                        if self._connection is not connection:
                            return
                        await self._take(event)
        except AgentFailure as raised:
            failure = raised
        except (DatabaseError, InterfaceError) as error:
            log.warning("Call %s: the database did not answer: %s", self.row.pk, error)
            self.finish(CallEnd.UNAVAILABLE)
            return
        except Exception:
            log.exception("Call %s failed inside Parley", self.row.pk)
            failure = AgentFailure("internal", "an error of Parley")
        self._queue(partial(self._connection_ended, connection, failure))

    async def _connection_ended(self, connection: LiveConnection, failure: AgentFailure | None) -> None:
        if self._connection is not connection:
            return
        self._connection = None
        if failure is None and self.turn:
            failure = AgentFailure("unavailable", "the connection ended in a turn")
        if failure:
            await self._fail(failure)

    async def _fail(self, failure: AgentFailure) -> None:
        """End the turn with a failure of the model. The next input opens a connection without a handle."""
        turn = self.turn
        if turn:
            turn.progress.details = failure.details
            log_failure(failure, turn.run.pk, turn.run.conversation.agent)
            await self._end_turn(
                turn, End(events.FAILED, failure.code), self._question(turn, whole=True), None
            )
        else:
            log.warning("Call %s: the model failed (%s): %s", self.row.pk, failure.code, failure.reason)
        self._disconnect()
        self._forget()
        self._send_error(failure.code)
        self._failures += 1
        self._reopen_at = time.monotonic() + REOPEN_SECONDS
        if self._failures >= FAILURES_MAX:
            self.finish(CallEnd.FAILED)
        else:
            await self._go_on()

    # --- events of the model ------------------------------------------------------------------

    async def _take(self, event: LiveEvent) -> None:
        match event:
            case Audio(pcm):
                await self._take_audio(pcm)
            case Heard(text, final):
                await self._take_words(text, final=final)
            case Shown(shown):
                await self._take_shown(shown)
            case Interrupted():
                if self.turn:
                    await self._interrupted(self.turn)
            case TurnComplete():
                if self.turn:
                    await self._completed(self.turn)
            case Handle(value):
                self._handle = value
                self._keeps_handle.set()

    async def _take_shown(self, shown: list[Event]) -> None:
        self._early += shown
        turn = self.turn
        if turn is None and (not shown or any(event.type in SIGNS for event in self._early)):
            turn = await self._begin("")
        if turn:
            shown, self._early = self._early, []
            turn.show(shown)
            self._note_answer(turn)
            if turn.progress.full:
                await self._cut(turn, WHOLE)

    async def _take_audio(self, pcm: bytes) -> None:
        # After the frame of the turn's run, at which a client begins to count what it plays.
        turn = self.turn or await self._begin("")
        if turn:
            self._play(turn, pcm)

    def _take_sound(self, connection: LiveConnection, pcm: bytes) -> bool:
        """Play sound of the running turn at once; return False if something else is being done."""
        if self.turn is None or self._connection is not connection or self._lock.locked():
            return False
        self._play(self.turn, pcm)
        return True

    def _play(self, turn: Turn, pcm: bytes) -> None:
        turn.note_sign()
        turn.answer.add_audio(len(pcm))
        if self._client and not turn.said:
            self._client.send_audio(pcm)
            turn.count_sent(len(pcm))
        self._note_answer(turn)

    def _note_answer(self, turn: Turn) -> None:
        if turn.is_answered:
            self._transcript.answer()
            self._unclaimed = None

    async def _take_words(self, text: str, *, final: bool) -> None:
        has_changed = self._transcript.hear(events.clean_text(text), final=final)
        question = self._transcript.question
        turn = self.turn or (await self._begin("") if question else None)
        if turn is None or turn.typed:
            return
        if has_changed:
            self._show_words(turn, question, final=self._transcript.is_final)
        if final:
            turn.ask()

    def _show_words(self, turn: Turn, question: str, *, final: bool) -> None:
        if turn.typed or turn.words == (question, final):
            return
        turn.hear(question, final=final)
        self._send({"type": "heard", "text": question, "final": final})
        if final:
            forbid = End(events.STOPPED, MODERATED)
            turn.write_question(lambda: self._queue(partial(self._cut, turn, forbid)))

    # --- turns --------------------------------------------------------------------------------

    async def _begin(self, text: str) -> Turn | None:
        """Begin a turn; None if it is refused, which ends the call."""
        try:
            turn = await start_turn(self.member, self.row.conversation_id, text)
        except Draining:
            self._is_draining = True
            self._disconnect()
            self._queue(self._go_on)
            return None
        except Refusal as refusal:
            self._disconnect()
            self.finish(_END_OF_REFUSAL.get(refusal.code, CallEnd.LOCKED))  # another is a rule of a hook
            return None
        self.turn = turn
        cut = lambda turn, end: self._queue(partial(self._cut, turn, end))  # noqa: E731
        lost = lambda: self._queue(partial(self._lost, turn))  # noqa: E731
        supervisor.spawn_run(turn.run.pk, lambda abort: turn.execute(abort, cut, lost))
        self._send({"type": "run", "run": str(turn.run.pk)})
        assert self._session
        self._session.begin_turn(turn.run, turn.writer.record)
        if text:
            self._transcript.answer()  # what is spoken from now on belongs to the next turn
        elif question := self._transcript.question:
            self._show_words(turn, question, final=self._transcript.is_final)
            if self._transcript.is_final:
                turn.ask()
        return turn

    async def _ask(self, text: str) -> None:
        """Begin a turn with typed words; one that is running is interrupted first."""
        if self.closing or self._is_draining:
            return
        try:
            message_text(text)
        except Refusal as refusal:
            self._send({"type": "error", "code": refusal.code, "detail": refusal.detail})
            return
        if self.turn:
            if len(self._typed) < WAITING_TEXTS:
                self._typed.append(text)
                await self._cut(self.turn, INTERRUPTED_TURN)
            return
        connection = await self._connect(manual=None)
        turn = await self._begin(events.clean_text(text))
        if turn and self._connection is connection:
            turn.ask()
            connection.read(text)

    async def _cut(self, turn: Turn, end: End) -> None:
        """End a turn before the model does: by an interruption if the model can be told, or at once."""
        if turn is not self.turn:
            return
        turn.end = INTERRUPTED_TURN if end == HANDED_OVER else end
        is_told = self._is_manual or self.voice.kind != "native"
        if end.type == events.STOPPED and turn.is_asked and is_told and self._connection:
            if turn.said is None and not turn.is_cut:
                turn.is_cut = True
                self._connection.interrupt()
                loop = asyncio.get_running_loop()
                loop.call_later(INTERRUPT_SECONDS, self._queue, partial(self._cut_now, turn, turn.end))
            return
        await self._cut_now(turn, turn.end)

    async def _cut_now(self, turn: Turn, end: End, *, waits: bool = True) -> None:
        """End a turn here. The next connection is told only what is stored."""
        if turn is not self.turn:
            return
        said = await self._settle(turn, waits=waits)
        self._disconnect()
        # The next connection knows nothing of late words: they are stored with this turn.
        question = self._question(turn, whole=True)
        await self._end_turn(turn, end, question, None if end.type == events.COMPLETED else said)
        self._forget()
        if end.type == events.FAILED:
            self._send_error(end.code)
        await self._go_on()

    async def _lost(self, turn: Turn) -> None:
        """Leave a turn whose run has ended without this call, for example when a moderator hid it."""
        await self._cut_now(turn, turn.end, waits=False)

    async def _interrupted(self, turn: Turn) -> None:
        said = await self._settle(turn)
        self._failures = 0
        self._unclaimed = None if turn.is_claimed else said
        await self._end_turn(turn, turn.end, self._question(turn, whole=False), said)
        await self._go_on()

    async def _completed(self, turn: Turn) -> None:
        if turn.said:  # the model had said all before it was interrupted
            await self._interrupted(turn)
            return
        self._failures = 0
        end = await self._end_turn(turn, WHOLE, self._question(turn, whole=True), None)
        if end.type == events.FAILED:
            self._send_error(end.code)
        self._send({"type": "turn"})
        await self._go_on()

    def _question(self, turn: Turn, *, whole: bool) -> str:
        """End the turn's words, and return them. Late ones are of this turn, or of the next one."""
        if whole and not turn.typed:
            return self._transcript.complete()
        return self._transcript.interrupt()

    async def _end_turn(self, turn: Turn, end: End, question: str, said: str | None) -> End:
        assert self._session
        if question:
            self._show_words(turn, question, final=True)
        self._early = []
        try:
            return await turn.finish(end, question, said, self._session)
        finally:
            self.turn = None

    async def _settle(self, turn: Turn, *, waits: bool = True) -> str:
        """Return what was heard of the answer; the client stops it, and reports once more."""
        if turn.said is None:
            turn.said = asyncio.get_running_loop().create_task(self._wait_for_played(turn, waits=waits))
        return await asyncio.shield(turn.said)

    async def _wait_for_played(self, turn: Turn, *, waits: bool) -> str:
        now = time.monotonic()
        self._send({"type": "interrupted"})
        turn.played.clear()
        if waits and self._client and turn.heard_at is not None:
            try:
                async with asyncio.timeout(PLAYED_SECONDS):
                    await turn.played.wait()
                    await asyncio.sleep(PLAYED_PAUSE_SECONDS)
            except TimeoutError:
                pass  # the newest report counts, or the clock
        return turn.heard_text(now)

    async def _heard_at_interruption(self) -> str:
        """Return what was heard of the interrupted answer, for a model whose context Parley keeps."""
        # It asks before the call knows of the interruption, or after the turn has ended.
        said, self._unclaimed = self._unclaimed, None
        if said is None and self.turn:
            self.turn.is_claimed = True
            said = await self._settle(self.turn)
        return said or ""

    # --- the rest -----------------------------------------------------------------------------

    async def _keep_handles(self) -> None:
        """Store the newest handle of the provider's session."""
        while True:
            await self._keeps_handle.wait()
            self._keeps_handle.clear()
            if self._handle:
                try:
                    await run_db(keeping.store_handle, self.row.pk, self.row.epoch, self._handle)
                except (DatabaseError, InterfaceError) as error:
                    log.warning("Call %s keeps no handle: %s", self.row.pk, error)

    def _send(self, frame: dict[str, Any]) -> None:
        if self._client:
            self._client.send(frame)

    def _send_error(self, code: str) -> None:
        self._send({"type": "error", "code": code, "detail": str(SENTENCES[code][0])})


async def open_call(member: User, row: LiveCall, client: Client) -> Call:
    """Return the call of this row, which ``keeping.admit`` has returned, with ``client`` attached to it.

    Raises CallRefused if the agent has no voice, or while this process ends.
    """
    held = registry.call_of(row.conversation_id)
    if held and held.row.pk == row.pk and held.closing is None:
        held.row = row
        held.attach(client)
        return held
    if held:
        held.finish(CallEnd.TAKEN_OVER)
        await held.run()
    if supervisor.draining or supervisor.id is None:
        raise CallRefused(CallEnd.UNAVAILABLE)
    try:
        voice = await asyncio.to_thread(voice_of, row.conversation.agent)
    except NoVoice as reason:
        raise CallRefused(CallEnd.NO_VOICE, str(reason)) from reason
    call = Call(member, row, voice)
    registry.register_call(call)
    call.attach(client)
    return call


def _begin_speech(connection: LiveConnection) -> None:
    connection.start()


def _listen(connection: LiveConnection) -> None:
    """Do nothing: what the microphone hears follows."""


async def _end_left_behind(conversation: uuid.UUID) -> None:
    """End the turn of a process that has died, or does not give up the call in LEFT_BEHIND_SECONDS."""
    deadline = time.monotonic() + LEFT_BEHIND_SECONDS
    while run := await run_db(_running_turn, conversation):
        if supervisor.executes(run.pk):
            return  # its call is over, and ends it
        if run.process_id in (None, supervisor.id) or time.monotonic() > deadline:
            assert supervisor.id
            taken = await run_db(lifecycle.take_over, run.pk, run.epoch, supervisor.id)
            if taken:
                deliver_rows(taken[0], await end_from_log(*taken, INTERRUPTED_TURN))
            return
        await asyncio.sleep(LEFT_BEHIND_LOOK_SECONDS)


def _running_turn(conversation: uuid.UUID) -> Run | None:
    running = Run.objects.filter(conversation=conversation, mode=Run.Mode.LIVE, status=Run.Status.RUNNING)
    return running.defer("state_after").first()


def _spawn(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Start a task with an empty context: it inherits nothing of the request that started it."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())
