"""One turn of a call: a run from the first sign of either side to its end."""

import asyncio
import time
import uuid
from collections.abc import Callable

from django.conf import settings

from accounts.models import User
from chat import actions, endings, events, lifecycle
from chat.agent.live.session import LiveSession
from chat.database import AWAY, run_db
from chat.endings import End
from chat.events import Event, Fold
from chat.lifecycle import Claim, Outcome
from chat.live.heard import BYTES_PER_MS, SpokenAnswer
from chat.models import Run
from chat.refusals import Refusal
from chat.runs import follow, titles
from chat.runs.execution import (
    INTERNAL,
    MODEL_LENGTH,
    Abort,
    Progress,
    deliver_rows,
    end_from_log,
    end_run,
    question_of,
)
from chat.runs.supervisor import supervisor

WORDS_SECONDS = 0.4  # between two events of a transcript that is not final
BUSY_SECONDS = 5.0  # how long a turn waits for the end of another run, such as an approver's
BUSY_LOOK_SECONDS = 0.1

WHOLE = End(events.COMPLETED)
INTERRUPTED_TURN = End(events.STOPPED, endings.INTERRUPTED)

# Events with which an answer begins.
SIGNS = (events.TEXT, events.THOUGHT, events.TOOL_CALLED, events.FILE)


class Draining(Exception):
    """This process begins no more turns."""


class Turn:
    """A turn whose run this process executes. Its call calls ``finish`` in the end."""

    def __init__(self, run: Run, text: str) -> None:
        self.run = run
        self.claim = Claim(run.pk, run.epoch)
        self.writer = supervisor.journal.open(self.claim, 1)
        self.writer.position = 1  # the first ADK event is the member's words
        self.progress = Progress(Fold(), time.monotonic())
        self.progress.fold.agent = run.conversation.agent
        self.answer = SpokenAnswer()
        self.typed = text  # the whole question, if it was typed
        self.end = INTERRUPTED_TURN  # with which an interruption ends it
        self.is_claimed = False  # the model was told what was heard
        self.is_cut = False  # the model was told to stop
        self.words = (text, True)  # the newest transcript that was shown, and whether it is final
        self.played_ms: float | None = None  # the newest report of the client
        self.played = asyncio.Event()  # set by each report
        self.heard_at: float | None = None  # time.monotonic() of the first audio that was sent to a client
        self.sent_ms = 0.0  # of audio sent to a client
        self.said: asyncio.Task[str] | None = None  # what was heard, once the turn is interrupted
        self._question = text
        self._logged = (text, True)  # the newest words in the log, and whether they are final
        self._log_timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._asked_at: float | None = None  # time.monotonic()
        self._first_sign: float | None = None
        self._last_sign = 0.0
        self._last_words = time.monotonic()
        self._called: set[str] = set()  # ids of tool calls without a result

    # --- the member's words -------------------------------------------------------------------

    def hear(self, question: str, *, final: bool) -> None:
        """Journal the transcript of the question so far, at most every WORDS_SECONDS until it is final."""
        self.words = self._question, _ = question, final
        self._last_words = time.monotonic()
        if final:
            self._log_words()
        elif self._log_timer is None:
            self._log_words()
            self._log_timer = asyncio.get_running_loop().call_later(WORDS_SECONDS, self._log_late_words)

    def _log_late_words(self) -> None:
        self._log_timer = None
        self._log_words()

    def _log_words(self) -> None:
        if self.words[1] and self._log_timer:
            self._log_timer.cancel()
            self._log_timer = None
        if self.words != self._logged and not self.writer.closed:
            self._logged = self.words
            self.progress.accept(events.heard(self.words[0], final=self.words[1]), self.writer)

    def write_question(self, refused: Callable[[], None]) -> None:
        """Write the final words into the prompt; call ``refused`` if a rule on prompts forbids them."""

        async def write() -> None:
            try:
                await run_db(lifecycle.write_question, self.claim, self._question)
            except Refusal:
                refused()
            except AWAY:
                pass  # the end of the run writes them

        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(write())

    # --- the answer ---------------------------------------------------------------------------

    @property
    def is_asked(self) -> bool:
        """Return whether the model has the question, and is to answer."""
        return self._asked_at is not None

    @property
    def is_answered(self) -> bool:
        """Return whether the model has begun to answer."""
        return self._first_sign is not None

    def ask(self) -> None:
        """Record that the model is to answer now."""
        self._asked_at = self._asked_at or time.monotonic()

    def note_sign(self) -> None:
        """Record that the model does something."""
        self.ask()
        self._last_sign = time.monotonic()
        self._first_sign = self._first_sign or self._last_sign

    def show(self, shown: list[Event]) -> None:
        """Journal events of the reply, and place captions on the time line of its audio."""
        for event in shown:
            if event.type in SIGNS:
                self.note_sign()
            if event.type == events.TOOL_CALLED:
                self._called.add(event.data["id"])
            elif event.type == events.TOOL_RETURNED:
                if event.data["id"] not in self._called:
                    continue  # of the turn before, which was interrupted
                self._called.remove(event.data["id"])
                self._last_sign = time.monotonic()
            if self.progress.full:
                continue
            accepted = self.progress.accept(event, self.writer)
            if accepted and accepted.type == events.TEXT:
                self.answer.add_caption(accepted.data["text"])
            elif accepted and accepted.type == events.REPLACE:
                self.answer.replace(accepted.data["text"])

    def report_played(self, ms: float) -> None:
        if self.is_answered:
            self.played_ms = ms
            self.played.set()

    def count_sent(self, size: int) -> None:
        """Count audio that was sent to a client."""
        self.sent_ms += size / BYTES_PER_MS
        self.heard_at = self.heard_at or time.monotonic()

    def heard_text(self, now: float) -> str:
        """Return the beginning of the reply that the member has heard by ``now``, in time.monotonic()."""
        if self.heard_at is None:
            return self.progress.fold.text  # there is no sound: it was read
        ms = (now - self.heard_at) * 1000 if self.played_ms is None else self.played_ms
        return self.answer.heard_until(min(ms, self.sent_ms))

    # --- its run ------------------------------------------------------------------------------

    async def execute(
        self, abort: Abort, cut: Callable[["Turn", End], None], lost: Callable[[], None]
    ) -> None:
        """Return when the turn has ended. Call ``cut`` for a stop or a deadline, ``lost`` for a lost run."""
        signals = {
            asyncio.ensure_future(event.wait()): event
            for event in (self._over, abort.requested, self.writer.lost)
        }
        try:
            while not self._over.is_set():
                due, code = self._due()
                waiting = [task for task in signals if not task.done()]
                timeout = max(0.01, due - time.monotonic())
                await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if self._over.is_set():
                    break
                changed = [signals[task] for task in waiting if task.done()]
                if self.writer.lost in changed:
                    lost()
                elif abort.requested in changed and abort.end:
                    cut(self, abort.end)
                elif not changed and time.monotonic() >= self._due()[0]:
                    cut(self, End(events.FAILED, code))
                    await self._over.wait()
        finally:
            for task in signals:
                task.cancel()

    def _due(self) -> tuple[float, str]:
        """Return the time at which the model is late, and the code of such a failure."""
        if self._asked_at is None:  # the member speaks, or has only coughed
            return self._last_words + settings.FIRST_TOKEN_SECONDS, "timeout_first"
        if self._first_sign is None:
            return self._asked_at + settings.FIRST_TOKEN_SECONDS, "timeout_first"
        whole = self._first_sign + settings.RUN_SECONDS, "timeout_run"
        if self._called:
            return whole
        # A model sends audio faster than it is heard, and ends its turn when it was heard.
        spoken_until = (self.heard_at or 0.0) + self.answer.audio_ms / 1000
        stalled = max(self._last_sign, spoken_until) + settings.SILENCE_SECONDS, "stalled"
        return min(whole, stalled)

    async def finish(self, end: End, question: str, said: str | None, session: LiveSession) -> End:
        """End the run, and return how. ``said`` is what was heard of an answer, None for a whole one.

        A turn that is to be completed fails if its model has answered with nothing.
        """
        progress = self.progress
        shown = progress.fold.text
        if said is not None and said != shown:
            progress.accept(events.replace(said, keep=len(said)), self.writer)
        self._question = self.typed or question
        self._log_words()
        try:
            if self._writing:
                await asyncio.wait([self._writing])
            rest, unstored = await self.writer.close()
            if self.writer.lost.is_set():
                deliver_rows(self.claim, await end_from_log(self.claim, self.run, INTERNAL))
                return end
            outcome = self._outcome(end, unstored, session)
            rows = await end_run(self.claim, outcome, progress.fold, rest)
        finally:
            follow.closed_here(self.claim.run)
            self._over.set()
        deliver_rows(self.claim, rows)
        titles.title_soon(self.claim.run)
        return outcome.end

    def _outcome(self, end: End, unstored: list[str], session: LiveSession) -> Outcome:
        progress, fold = self.progress, self.progress.fold
        result = session.end_turn(self._question, fold.text)
        requests = result.requests if end.type == events.COMPLETED else []
        if end.type == events.COMPLETED:
            if progress.full:
                end = End(events.COMPLETED, finish="length")
            elif requests:
                end = End(events.COMPLETED, finish=endings.APPROVAL)
            elif fold.has_visible_text or fold.has_files or result.used_tools:
                end = End(events.COMPLETED, finish=result.finish)
            else:
                end = End(events.FAILED, "empty")
        return Outcome(
            end,
            usage=result.usage,
            model=events.clean_text(result.model)[:MODEL_LENGTH],
            ttft_ms=progress.ttft_ms,
            duration_ms=progress.milliseconds(),
            invocation_id=result.invocation_id,
            session_events=[*unstored, *result.payloads],
            state=result.state,
            user_state=result.user_state,
            app_state=result.app_state,
            failure=progress.details.as_json() if progress.details else None,
            requests=requests,
            question=question_of(self.run, self._question, result.invocation_id),
        )


async def start_turn(member: User, conversation: uuid.UUID, text: str) -> Turn:
    """Store the turn's prompt and its run. ``text`` is what was typed, empty for spoken words.

    Raises Draining, the refusals of ``actions.begin_turn``, and what the database raises.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        reservation = supervisor.reserve()
        if reservation is None:
            raise Draining
        try:
            run = await run_db(actions.begin_turn, member, conversation, text, reservation)
            return Turn(run, text)
        except Refusal as refusal:
            if refusal.code != "busy" or time.monotonic() > deadline:
                raise
        finally:
            supervisor.release(reservation)
        await asyncio.sleep(BUSY_LOOK_SECONDS)
