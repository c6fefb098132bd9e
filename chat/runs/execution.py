"""One run from its claim to its end."""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from django.conf import settings
from django.utils import timezone

from chat import endings, events, lifecycle
from chat.agent.agents import catalog
from chat.agent.memory.context import load_turn
from chat.agent.memory.payload import invocation_of
from chat.agent.memory.session_data import SessionData
from chat.agent.turn import containment
from chat.agent.turn.failures import AgentFailure
from chat.agent.turn.faults import Fault
from chat.agent.turn.interruption import close_history
from chat.agent.turn.reply import Reply
from chat.database import run_db_patiently
from chat.events import Event, Fold, Row, Usage
from chat.instruments import metrics
from chat.lifecycle import Claim, Outcome
from chat.log import read_log
from chat.models import Run
from chat.rendering.process import render_in_time_async
from chat.runs import subscribers
from chat.runs.journal import Journal, RunWriter

log = logging.getLogger(__name__)

STOP = "stop"
HAND_OVER = "hand over"
# How a run ends by its code; by any other code it has failed.
TYPE_OF_CODE = {"": events.COMPLETED, STOP: events.STOPPED, "lost": events.EXPIRED}
ABORT_SECONDS = 1.0  # what an agent gets to end by itself before it is cancelled


@dataclass(slots=True)
class Abort:
    """The wish that a run should end before its agent has finished."""

    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""

    def want(self, reason: str) -> None:
        if not self.reason:
            self.reason = reason
            self.wanted.set()


@dataclass(slots=True)
class _Progress:
    """What the run has shown, and when."""

    fold: Fold
    began: float  # time.monotonic() at which the member's question was stored
    ttft_ms: int | None = None
    size: int = 0  # bytes of the reply's text
    frozen: bool = False  # nothing more is taken
    full: bool = False  # the limit of a reply is reached
    spoke: float = 0.0  # time.monotonic() of the last text
    fault: Fault | None = None  # the exception that ended the agent

    def milliseconds(self) -> int:
        return max(0, round((time.monotonic() - self.began) * 1000))

    def said(self, size: int) -> None:
        """A piece of text of so many bytes came."""
        now = time.monotonic()
        if self.ttft_ms is None:
            self.ttft_ms = self.milliseconds()
            metrics.first_token_seconds.observe(now - self.began)
        else:
            metrics.delta_gap_seconds.observe(now - self.spoke)
        metrics.delta_bytes.observe(size)
        self.spoke = now


async def execute_run(claim: Claim, run: Run, journal: Journal, abort: Abort) -> None:
    """Let the agent answer, and end the run. Raises nothing of the agent's."""
    writer = journal.open(claim, await run_db_patiently(_last_seq, claim))
    try:
        rows = await _execute(claim, run, writer, abort)
    finally:
        await writer.close()
        subscribers.closed_here(claim.run)
    show_rows(claim, rows)


async def _execute(claim: Claim, run: Run, writer: RunWriter, abort: Abort) -> list[Row] | None:
    waited = (timezone.now() - run.created_at).total_seconds()
    progress = _Progress(Fold(), time.monotonic() - max(0.0, waited))
    progress.fold.agent = run.conversation.agent
    turn = reply = None
    try:
        turn = await run_db_patiently(load_turn, run)
        turn.record = writer.record
        reply = Reply(turn, catalog.runner_of, streams=run.mode == Run.Mode.SSE)
        code, finish = await _answer(reply, progress, writer, abort)
        if code and not progress.full:
            for event in reply.flush():
                _take(event, progress, writer)
    except Exception:
        log.exception("Run %s failed inside Parley", claim.run)
        code, finish = "internal", ""
    rest, payloads = await writer.close()
    if writer.lost.is_set():
        # Another process has it; or the database refused a page, and then it ends with what is stored.
        log.warning("Run %s may not be written any more", claim.run)
        return await end_orphan(claim, run, code="internal")
    if code == HAND_OVER:
        if turn is not None and not turn.has_calls() and not progress.fold.called:
            return await run_db_patiently(lifecycle.hand_over, claim)
        code = "lost"  # a tool may have acted: not twice
    if turn is not None and (code or finish == "length"):
        payloads = payloads + close_history(
            turn.own_payloads, progress.fold, run, catalog.root_name(run.conversation.agent)
        )
    outcome = _outcome(code, finish, progress, turn, reply.usage if reply else Usage(), payloads)
    return await _end(claim, outcome, progress.fold, rest)


async def _end(claim: Claim, outcome: Outcome, fold: Fold, rest: Sequence[Event] = ()) -> list[Row] | None:
    """End the run. Its text is rendered first: nobody waits for that on the database's thread."""
    html = await render_in_time_async(fold.text)
    return await run_db_patiently(lifecycle.end, claim, outcome, fold, rest, html)


def _last_seq(claim: Claim) -> int:
    rows = read_log(claim.run)
    return rows[-1].seq if rows else 0


def show_rows(claim: Claim, rows: list[Row] | None) -> None:
    if rows:
        subscribers.deliver(claim.run, rows)


async def _answer(reply: Reply, progress: _Progress, writer: RunWriter, abort: Abort) -> tuple[str, str]:
    """Run the agent to its end, or to the abort. Returns the code and the finish."""
    scope = containment.AgentScope(reply.turn.agent, str(writer.claim.run), reply.abort)
    pump = containment.begin(_pump(reply, progress, writer), scope)
    watched = [asyncio.ensure_future(abort.wanted.wait()), asyncio.ensure_future(writer.lost.wait())]
    try:
        await asyncio.wait([pump, *watched], return_when=asyncio.FIRST_COMPLETED)
        if not pump.done():
            progress.frozen = True
            reply.abort.set()
            await asyncio.wait([pump], timeout=ABORT_SECONDS)
            pump.cancel()
            await asyncio.wait([pump])
            return abort.reason or "lost", ""
        return pump.result()
    finally:
        for task in watched:
            task.cancel()


async def _pump(reply: Reply, progress: _Progress, writer: RunWriter) -> tuple[str, str]:
    """Write what the agent says, under its deadlines. Returns the code and the finish."""
    clock = asyncio.get_running_loop().time
    last = clock() + settings.RUN_SECONDS
    deadline, late = min((clock() + settings.FIRST_TOKEN_SECONDS, "timeout_first"), (last, "timeout_run"))
    try:
        async with asyncio.timeout_at(deadline) as timer, aclosing(reply.events()) as stream:
            async for event in stream:
                if progress.frozen:
                    continue
                _take(event, progress, writer)
                if progress.full:
                    progress.frozen = True
                    reply.abort.set()
                silence = settings.SILENCE_SECONDS if reply.streams else settings.RUN_SECONDS
                deadline, late = min((clock() + silence, "stalled"), (last, "timeout_run"))
                timer.reschedule(deadline)
    except TimeoutError:
        if not progress.full:
            return late, ""
    except AgentFailure as failure:
        if not progress.full:
            progress.fault = failure.fault
            _tell(failure, reply.turn)
            return failure.code, ""
    return _came_to(reply, progress)


def _came_to(reply: Reply, progress: _Progress) -> tuple[str, str]:
    """What an agent that ended by itself came to: the code and the finish."""
    if progress.full:
        return "", "length"
    if reply.waiting:
        return "", endings.APPROVAL
    if not (progress.fold.has_visible_text or reply.acted):
        return "empty", ""
    return "", reply.finish


def _tell(failure: AgentFailure, turn: SessionData) -> None:
    """Log why the agent failed: classes, files and lines, no words."""
    fault = failure.fault
    where = f" at {fault.place}" if fault and fault.place else ""
    log.warning(
        "Run %s: the agent failed (%s): %s%s",
        turn.run_id,
        failure.code,
        failure.reason,
        where,
        extra={"fields": {"agent": turn.agent, "exception": fault.traceback if fault else ""}},
    )


def _take(event: Event, progress: _Progress, writer: RunWriter) -> None:
    if event.type == events.TEXT:
        before = progress.size
        event = _within_limit(event, progress)
        if not event.data["text"]:
            return
        progress.said(progress.size - before)
    elif event.type == events.REPLACE:
        progress.size = len(event.data["text"].encode())
    progress.fold.add(event)
    writer.write(event)


def _within_limit(event: Event, progress: _Progress) -> Event:
    """The event, cut at a character where the reply would grow over its limit."""
    encoded = event.data["text"].encode()
    room = settings.REPLY_MAX_BYTES - progress.size
    progress.size += len(encoded)
    if len(encoded) <= room:
        return event
    progress.full = True
    return events.text(encoded[: max(0, room)].decode(errors="ignore"))


def _outcome(
    code: str, finish: str, progress: _Progress, turn: SessionData | None, usage: Usage, payloads: list[str]
) -> Outcome:
    return Outcome(
        TYPE_OF_CODE.get(code, events.FAILED),
        code="" if code == STOP else code,
        finish=finish,
        usage=usage,
        ttft_ms=progress.ttft_ms,
        duration_ms=progress.milliseconds(),
        invocation_id=invocation_of(turn.own_payloads or payloads) if turn else "",
        session_events=payloads,
        state=turn.state if turn else None,
        user_state=turn.user_delta if turn else {},
        app_state=turn.app_delta if turn else {},
        failure=progress.fault.as_json() if progress.fault else None,
    )


async def end_orphan(claim: Claim, run: Run, *, code: str) -> list[Row] | None:
    """End a run that nobody executes any more with what is stored of it."""
    outcome, fold = await run_db_patiently(lambda: _what_is_stored(run, code))
    return await _end(claim, outcome, fold)


def _what_is_stored(run: Run, code: str) -> tuple[Outcome, Fold]:
    log_rows = read_log(run.pk)
    fold = Fold(row.event() for row in log_rows)
    payloads = list(run.session_events.order_by("position").values_list("payload", flat=True))
    kind = TYPE_OF_CODE.get(code, events.FAILED)
    waited = timezone.now() - run.created_at
    outcome = Outcome(
        kind,
        code="" if code == STOP else code,
        duration_ms=round(waited.total_seconds() * 1000),
        invocation_id=invocation_of(payloads),
        session_events=close_history(payloads, fold, run, catalog.root_name(run.conversation.agent)),
        state=load_turn(run, own_payloads=payloads).state,
    )
    return outcome, fold
