"""Execution of one claimed run to its end."""

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

from django.conf import settings
from django.utils import timezone

from chat import doorbell, endings, events, hooks, lifecycle
from chat.agent.agents import catalog
from chat.agent.memory.context import load_session
from chat.agent.memory.file_parts import question_parts
from chat.agent.memory.payload import encode_question, invocation_of
from chat.agent.memory.requests import requests_in
from chat.agent.memory.session_data import SessionData
from chat.agent.turn import approvals, containment, deadlines
from chat.agent.turn.exception_details import ExceptionDetails
from chat.agent.turn.failure_codes import AgentFailure
from chat.agent.turn.interruption import close_history
from chat.agent.turn.reply import ReplyTranslator
from chat.database import AWAY, run_db_patiently
from chat.endings import End
from chat.events import ADK_TOOLS, Event, Fold, Row, Usage
from chat.instruments import metrics
from chat.lifecycle import Claim, Outcome, Question
from chat.log import last_seq, read_log
from chat.models import PersonRequest, Run
from chat.rendering.renderer import render_in_time_async, render_reply_in_time
from chat.runs import follow
from chat.runs.journal import Journal, RunWriter

log = logging.getLogger(__name__)

MODEL_LENGTH = 128  # characters of Run.model

LOST = End(events.EXPIRED, "lost")  # a tool may have acted, and must not act twice
INTERNAL = End(events.FAILED, "internal")
HANDED_OVER = End("handed over")  # ends only this process's execution: nothing is stored of it
ABORT_SECONDS = 1.0  # between an agent's abort and its first cancellation, and between cancellations
CANCELLATIONS = 3  # then the run ends without its agent; a stop is answered within 5 s


# Tasks of agents whose runs have ended without them: asyncio itself holds tasks only weakly.
_ignoring: "set[asyncio.Task[End]]" = set()


@dataclass(slots=True)
class Abort:
    """Request that a run ends before its agent has finished; the first one counts."""

    requested: asyncio.Event = field(default_factory=asyncio.Event)
    end: End | None = None

    def request(self, end: End) -> None:
        self.end = self.end or end
        self.requested.set()


@dataclass(slots=True)
class Progress:
    """Output of the run so far, and its times."""

    fold: Fold
    started: float  # time.monotonic() at which the question was stored
    ttft_ms: int | None = None
    size: int = 0  # bytes of the reply's text
    frozen: bool = False  # after an abort or at the size limit, the agent's later events are dropped
    full: bool = False  # REPLY_MAX_BYTES is reached
    last_text: float = 0.0  # time.monotonic()
    details: ExceptionDetails | None = None  # the exception that ended the agent

    def milliseconds(self) -> int:
        return max(0, round((time.monotonic() - self.started) * 1000))

    def accept(self, event: Event, writer: RunWriter) -> Event | None:
        """Journal the event. Return it as the hooks and the size limit leave it, None if they drop it."""
        for filtered in hooks.filter_event:
            if (changed := filtered(writer.claim.run, event)) is None:
                return None
            event = changed
        if event.type == events.TEXT:
            before = self.size
            event = self._within_limit(event)
            if not event.data["text"]:
                return None
            self._measure_text(self.size - before)
        elif event.type == events.REPLACE:
            self.size = len(event.data["text"].encode())
        self.fold.add(event)
        writer.write(event)
        return event

    def _within_limit(self, event: Event) -> Event:
        """Return the text event, cut between characters where the reply reaches REPLY_MAX_BYTES."""
        encoded = event.data["text"].encode()
        room = settings.REPLY_MAX_BYTES - self.size
        self.size += len(encoded)
        if len(encoded) <= room:
            return event
        self.full = True
        return events.text(encoded[: max(0, room)].decode(errors="ignore"))

    def _measure_text(self, size: int) -> None:
        """Count a delta of ``size`` bytes in the metrics."""
        now = time.monotonic()
        if self.ttft_ms is None:
            self.ttft_ms = self.milliseconds()
            metrics.first_token_seconds.observe(now - self.started)
        else:
            metrics.delta_gap_seconds.observe(now - self.last_text)
        metrics.delta_bytes.observe(size)
        self.last_text = now


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A claimed run, and what its agent needs to start."""

    claim: Claim
    run: Run
    seq: int  # of the newest row of its log
    session: SessionData | None  # None: it could not be read, which ends the run


def prepare_run(claim: Claim, run: Run, seq: int | None = None, *, is_question: bool = False) -> ClaimedRun:
    """Read what a claimed run needs to start; ``seq`` is that of the newest row of its log, if it is known.

    ``is_question`` is as for ``load_session``. Call it on a thread. Raises what the database raises if it is
    away.
    """
    try:
        session = load_session(run, is_question=is_question)
    except AWAY:
        raise
    except Exception:
        log.exception("Run %s failed inside Parley", claim.run)
        session = None
    return ClaimedRun(claim, run, last_seq(run.pk) if seq is None else seq, session)


async def execute_run(claimed: ClaimedRun, journal: Journal, abort: Abort) -> None:
    """Run the agent and end the run. Raise nothing that the agent raises."""
    claim = claimed.claim
    writer = journal.open(claim, claimed.seq)
    try:
        rows = await _execute(claimed, writer, abort)
    finally:
        follow.closed_here(claim.run)
    deliver_rows(claim, rows)


async def _execute(claimed: ClaimedRun, writer: RunWriter, abort: Abort) -> list[Row] | None:
    claim, run, session = claimed.claim, claimed.run, claimed.session
    waited = (timezone.now() - run.created_at).total_seconds()
    progress = Progress(Fold(), time.monotonic() - max(0.0, waited))
    progress.fold.agent = run.conversation.agent
    translator, end = None, INTERNAL
    try:
        if session is not None:
            session.record = writer.record
            translator = ReplyTranslator(
                session, catalog.runner_of, catalog.in_use, streams=run.mode == Run.Mode.SSE
            )
            end = await _answer(translator, progress, writer, abort)
        # Whole events that flush() returns are in the session, so they are shown even after an abort; but not
        # above the size limit.
        if translator and end.type != events.COMPLETED and not progress.full:
            for event in translator.flush():
                progress.accept(event, writer)
    except Exception:
        log.exception("Run %s failed inside Parley", claim.run)
        end = INTERNAL
    finally:
        rest, payloads = await writer.close()
    if writer.lost.is_set():
        # The database refused a batch, so the run ends with what is in the log. Or another process took the
        # run over: then ``end_from_log`` changes nothing.
        log.warning("Run %s can no longer be written by this process", claim.run)
        return await end_from_log(claim, run, INTERNAL)
    if end == HANDED_OVER:
        if session is not None and not _may_have_acted(session, progress.fold):
            shown = await run_db_patiently(stored_outcome, run, LOST)
            return await run_db_patiently(lifecycle.hand_over, claim, *shown)
        end = LOST
    if session is not None and (end.type != events.COMPLETED or progress.full):
        payloads = payloads + close_history(
            session.own_payloads,
            progress.fold,
            run,
            catalog.root_name(run.conversation.agent),
            session.answers,
        )
    outcome = _outcome(end, progress, session, translator, payloads)
    if session is not None and end.type == events.COMPLETED:
        outcome = replace(outcome, requests=requests_in(session.own_payloads))
    return await end_run(claim, outcome, progress.fold, rest)


def _may_have_acted(session: SessionData, fold: Fold) -> bool:
    """Return whether a tool was entered, or may be at any time. Then the run must not begin again."""
    approved = {request.call for request in session.answers}
    # ``has_calls`` includes calls not shown yet, ``fold`` includes code that the model ran.
    called = {item["id"] for item in fold.items if item["type"] == "tool" and item["name"] not in ADK_TOOLS}
    return bool(
        session.has_calls() or called - approved or any(request.started_at for request in session.answers)
    )


async def end_run(claim: Claim, outcome: Outcome, fold: Fold, rest: Sequence[Event] = ()) -> list[Row] | None:
    """Render the reply, and end the run as ``lifecycle.end`` does."""
    # Rendered before the transaction, so that the database's thread does not wait for it.
    if fold.sources:
        html = await asyncio.to_thread(render_reply_in_time, fold.text, fold.sources)
    else:
        html = await render_in_time_async(fold.text)
    return await run_db_patiently(lifecycle.end, claim, outcome, fold, rest, html)


def deliver_rows(claim: Claim, rows: list[Row] | None) -> None:
    """Deliver the rows of a transition of ``lifecycle`` to readers here, and ring for the others."""
    if rows:
        follow.deliver(claim.run, rows)
        if settings.REDIS_URL:
            doorbell.ring_soon([str(claim.run)])


async def _answer(translator: ReplyTranslator, progress: Progress, writer: RunWriter, abort: Abort) -> End:
    """Run the agent to its end, its deadline or the abort."""
    deadline = deadlines.RunDeadline(streams=translator.streams)
    deadlines.run_deadline.set(deadline)  # the task of this run has a context of its own
    session, claim = translator.session, writer.claim
    approvals.current_approvals.set(approvals.Approvals.of(session.answers, partial(_start_approved, claim)))
    scope = containment.AgentScope(session.agent, str(claim.run), translator.abort)
    pump = containment.begin(_pump(translator, progress, writer), scope)
    watched = [
        asyncio.ensure_future(event.wait()) for event in (abort.requested, writer.lost, deadline.passed)
    ]
    try:
        await asyncio.wait([pump, *watched], return_when=asyncio.FIRST_COMPLETED)
        if pump.done():
            return pump.result()
        progress.frozen = True
        is_late = deadline.passed.is_set()
        if not is_late:
            translator.abort.set()
            await asyncio.wait([pump], timeout=ABORT_SECONDS)
        await _cancel(pump, writer.claim)
        if is_late:
            return _completion(translator, progress) if progress.full else End(events.FAILED, deadline.code)
        return abort.end or INTERNAL  # no abort: the writer is lost, and the caller sees that
    finally:
        deadline.close()
        for task in watched:
            task.cancel()


async def _start_approved(claim: Claim, request: PersonRequest) -> None:
    if not await run_db_patiently(lifecycle.start_approved, claim, request):
        raise RuntimeError(f"Run {claim.run} is another process's: {request.tool} is not entered")


async def _cancel(pump: "asyncio.Task[End]", claim: Claim) -> None:
    """Cancel the agent's task repeatedly, and leave it to itself if it swallows each cancellation."""
    for _attempt in range(CANCELLATIONS):
        pump.cancel()
        if (await asyncio.wait([pump], timeout=ABORT_SECONDS))[0]:
            return
    log.error("Run %s ends without its agent, which ignores its cancellation", claim.run)
    _ignoring.add(pump)
    pump.add_done_callback(_ignoring.discard)


async def _pump(translator: ReplyTranslator, progress: Progress, writer: RunWriter) -> End:
    """Journal the agent's events."""
    try:
        async with aclosing(translator.events()) as stream:
            async for event in stream:
                if progress.frozen:
                    continue
                progress.accept(event, writer)
                if progress.full:
                    progress.frozen = True
                    translator.abort.set()
    except AgentFailure as failure:
        if not progress.full:
            progress.details = failure.details
            log_failure(failure, translator.session.run_id, translator.session.agent)
            return End(events.FAILED, failure.code)
    return _completion(translator, progress)


def _completion(translator: ReplyTranslator, progress: Progress) -> End:
    """Return the end of a run whose agent did not fail, or was ended at the size limit."""
    if progress.full:
        return End(events.COMPLETED, finish="length")
    if translator.pending_calls:
        return End(events.COMPLETED, finish=endings.APPROVAL)
    if not (progress.fold.has_visible_text or progress.fold.has_files or translator.used_tools):
        return End(events.FAILED, "empty")
    return End(events.COMPLETED, finish=translator.finish)


def log_failure(failure: AgentFailure, run_id: uuid.UUID, agent: str) -> None:
    """Log why the agent failed: classes, files and lines, and no text that a member or the model wrote."""
    details = failure.details
    where = f" at {details.place}" if details and details.place else ""
    log.warning(
        "Run %s: the agent failed (%s): %s%s",
        run_id,
        failure.code,
        failure.reason,
        where,
        extra={"fields": {"agent": agent, "exception": details.traceback if details else ""}},
    )


def _outcome(
    end: End,
    progress: Progress,
    session: SessionData | None,
    translator: ReplyTranslator | None,
    payloads: list[str],
) -> Outcome:
    return Outcome(
        end,
        usage=translator.usage if translator else Usage(),
        model=events.clean_text(translator.model)[:MODEL_LENGTH] if translator else "",
        ttft_ms=progress.ttft_ms,
        duration_ms=progress.milliseconds(),
        invocation_id=invocation_of(session.own_payloads or payloads) if session else "",
        session_events=payloads,
        state=session.state if session else None,
        user_state=session.user_delta if session else {},
        app_state=session.app_delta if session else {},
        failure=progress.details.as_json() if progress.details else None,
    )


async def end_from_log(claim: Claim, run: Run, end: End) -> list[Row] | None:
    """End a run with the events in its log, because its writer is gone."""
    outcome, fold = await run_db_patiently(stored_outcome, run, end)
    return await end_run(claim, outcome, fold)


def stored_outcome(run: Run, end: End) -> tuple[Outcome, Fold]:
    """Return the outcome of a run with this end, and its reply, by what is stored of both."""
    fold = Fold(row.event() for row in read_log(run.pk))
    payloads = list(run.session_events.order_by("position").values_list("payload", flat=True))
    session = load_session(run, own_payloads=payloads)
    waited = timezone.now() - run.created_at
    outcome = Outcome(
        end,
        duration_ms=round(waited.total_seconds() * 1000),
        invocation_id=invocation_of(payloads),
        session_events=close_history(
            payloads, fold, run, catalog.root_name(run.conversation.agent), session.answers
        ),
        question=question_of(run, run.prompt.text or fold.question) if run.mode == Run.Mode.LIVE else None,
        state=session.state,
        user_state=session.user_delta,
        app_state=session.app_delta,
    )
    return outcome, fold


def question_of(run: Run, text: str, invocation_id: str = "") -> Question:
    """Return what the end of a live run stores of the member's words; no ADK event if there were none."""
    parts = question_parts(text, [])
    asked_at = run.created_at.timestamp()
    payload = encode_question(parts, invocation_id or f"run-{run.pk}", asked_at) if text.strip() else None
    return Question(text, payload)
