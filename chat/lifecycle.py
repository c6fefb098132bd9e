"""States of a run. Each transition is one guarded transaction; the loser of a race changes nothing.

QUEUED ─claim→ RUNNING ─end→ COMPLETED, STOPPED, FAILED, EXPIRED
   └─stop_queued→ STOPPED      RUNNING ─take_over, restart→ RUNNING (attempt 2)
                               RUNNING ─hand_over→ QUEUED

The transaction that ends a run asks the next one of its conversation's queue (chat/queue.py).
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from accounts import statements
from chat import approvers, changes, events, hooks, queue
from chat.begin import question_items
from chat.endings import STATUS_OF, USAGE, End, terminal_data
from chat.events import Event, Fold, Row, Usage
from chat.files.models import Artifact, File
from chat.instruments import metrics
from chat.log import append, read_log
from chat.models import (
    AppState,
    Conversation,
    Message,
    PersonRequest,
    Run,
    RunEvent,
    SessionEvent,
    UserState,
)
from chat.rendering import RENDERER_VERSION
from chat.text import title_of
from chat.waiting import request_json


@dataclass(frozen=True, slots=True)
class Claim:
    """Right to write to a run, until another claim raises its epoch."""

    run: uuid.UUID
    epoch: int


@dataclass(frozen=True, slots=True)
class Question:
    """Words of a spoken turn's member: the text of its prompt, and the ADK event, if they said anything."""

    text: str
    payload: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a run, as stored by its last transaction."""

    end: End
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    ttft_ms: int | None = None
    duration_ms: int = 0
    invocation_id: str = ""
    session_events: Sequence[str] = ()
    state: dict[str, Any] | None = None
    user_state: dict[str, Any] = field(default_factory=dict)
    app_state: dict[str, Any] = field(default_factory=dict)
    failure: dict[str, Any] | None = None  # as in Run.failure
    requests: Sequence[PersonRequest] = ()  # that now wait for a person
    question: Question | None = None  # of a live run, whose prompt's text is written when it is known


def claim(run_id: uuid.UUID, process_id: uuid.UUID) -> tuple[Claim, Run] | None:
    """Claim a queued run for this process (QUEUED → RUNNING); None if another one was first."""
    return _claim(run_id, process_id, status=Run.Status.QUEUED)


def take_over(run_id: uuid.UUID, epoch: int, process_id: uuid.UUID) -> tuple[Claim, Run] | None:
    """Claim a running run whose process seems dead; if it still lives, its later writes are dropped.

    Returns None if another process was first.
    """
    return _claim(run_id, process_id, status=Run.Status.RUNNING, epoch=epoch)


@transaction.atomic
def _claim(run_id: uuid.UUID, process_id: uuid.UUID, **guard: Any) -> tuple[Claim, Run] | None:
    won = Run.objects.filter(pk=run_id, **guard).update(
        status=Run.Status.RUNNING, process_id=process_id, epoch=F("epoch") + 1
    )
    if not won:
        return None
    run = Run.objects.select_related("conversation", "prompt").get(pk=run_id)
    return Claim(run_id, run.epoch), run


@transaction.atomic
def restart(claim: Claim, shown: Outcome, fold: Fold) -> list[Row] | None:
    """Start attempt 2 with an empty reply (RUNNING → RUNNING); None if this claim does not hold attempt 1.

    ``fold`` is what attempt 1 has shown. It stays as a reply of its own, an earlier version, whose outcome is
    ``shown``.
    """
    conversation = _lock_conversation_of(claim.run)
    run = _lock(claim.run, status=Run.Status.RUNNING, epoch=claim.epoch, attempt=1)
    if run is None:
        return None
    Run.objects.filter(pk=run.pk).update(attempt=2)
    return append(run.pk, [events.replace("", attempt=2, kept=_keep_shown(run, conversation, shown, fold))])


@transaction.atomic
def hand_over(claim: Claim, shown: Outcome, fold: Fold) -> list[Row] | None:
    """Return a run to the queue at shutdown (RUNNING → QUEUED). The next claim counts as the same attempt.

    ``shown`` and ``fold`` are as for ``restart``.
    """
    conversation = _lock_conversation_of(claim.run)
    run = _lock(claim.run, status=Run.Status.RUNNING, epoch=claim.epoch)
    if run is None:
        return None
    Run.objects.filter(pk=run.pk).update(status=Run.Status.QUEUED, process=None, epoch=F("epoch") + 1)
    kept = _keep_shown(run, conversation, shown, fold)
    if RunEvent.objects.filter(run=run, seq__gt=1).exists():
        return append(run.pk, [events.replace("", kept=kept)])
    return []


def _keep_shown(run: Run, conversation: Conversation, shown: Outcome, fold: Fold) -> str | None:
    """Move what a run has shown, with its ADK events, to a run of its own that has ended.

    Returns the id of that run's reply, or None if nothing was shown.
    """
    if not fold.has_items:
        SessionEvent.objects.filter(run=run).delete()
        # Versions of artifacts keep their numbers, and are on no branch.
        Artifact.objects.filter(run=run).update(attempt=0)
        return None
    log = [row.event() for row in read_log(run.pk)]
    now = timezone.now()
    kept = Run.objects.create(
        conversation=conversation,
        owner_id=run.owner_id,
        prompt_id=run.prompt_id,
        mode=run.mode,
        attempt=run.attempt,
        process_id=run.process_id,
        status=STATUS_OF[shown.end.type],
        code=shown.end.code,
        invocation_id=shown.invocation_id,
        state_after=json.dumps(shown.state or {}),
        duration_ms=shown.duration_ms,
        deltas=sum(event.type == events.TEXT for event in log),
        bytes=len(fold.text.encode()),
        last_seq=len(log) + 1,
        created_at=run.created_at
        - timedelta(microseconds=1),  # the run itself stays the newest of its prompt
        ended_at=now,
    )
    kept.reply = _draft(fold, None)
    kept.reply.conversation, kept.reply.parent_id, kept.reply.run = conversation, run.prompt_id, kept
    kept.reply.created_at = now
    kept.reply.save(force_insert=True)
    kept.save(update_fields=["reply"])
    started = Event(log[0].type, {**log[0].data, "run": str(kept.pk)})
    append(kept.pk, [started, *log[1:], Event(shown.end.type, terminal_data(kept))])
    moved = SessionEvent.objects.filter(run=run).update(run=kept)
    _append_session(kept, shown.session_events, moved)
    # They are hidden, and on a branch, with the reply that has them.
    File.objects.filter(run=run).update(run=kept)
    Artifact.objects.filter(run=run, attempt=run.attempt).update(run=kept)
    return str(kept.reply.pk)


@transaction.atomic
def start_approved(claim: Claim, request: PersonRequest) -> bool:
    """Store that the tool of an approved request is about to be entered; False if the run is another's.

    From then on the run is neither restarted nor handed over: the tool may have acted.
    """
    if _lock(claim.run, status=Run.Status.RUNNING, epoch=claim.epoch) is None:
        return False
    request.started_at = timezone.now()
    request.save(update_fields=["started_at"])
    return True


@transaction.atomic
def stop_queued(run_id: uuid.UUID, *, code: str = "") -> list[Row] | None:
    """Stop a queued run in any process (QUEUED → STOPPED); None if it is no longer queued."""
    ending = _lock_to_end(run_id, status=Run.Status.QUEUED)
    return _end(ending, Outcome(End(events.STOPPED, code)), None, []) if ending else None


def end(
    claim: Claim, outcome: Outcome, fold: Fold, rest: Sequence[Event] = (), html: str | None = None
) -> list[Row] | None:
    """Store a running run's outcome: reply, usage, session state, terminal event and status together.

    ``fold`` adds up all events, ``rest`` included; ``rest`` are those that are not yet in the log. ``html``
    is the rendered text; without it, each page renders the text.
    Returns the rows written, or None if the run was no longer this claim's.

    A run of text takes eight statements: docs/architecture.md lists them.
    """
    draft = _draft(fold, html) if fold.has_items else None
    with transaction.atomic():
        ending = _lock_to_end(claim.run, status=Run.Status.RUNNING, epoch=claim.epoch)
        return _end(ending, outcome, draft, rest) if ending else None


def _lock(run_id: uuid.UUID, **guard: Any) -> Run | None:
    return Run.objects.select_for_update().filter(pk=run_id, **guard).first()


def _lock_conversation_of(run_id: uuid.UUID) -> Conversation:
    # Lock the conversation before the run, as asking and deleting do. In two orders they can deadlock.
    return Conversation.objects.raw(_LOCK_CONVERSATION, [_stored_id(run_id)])[0]


@dataclass(frozen=True, slots=True)
class _Ending:
    """A run to be ended, locked with its conversation, and what is stored of it."""

    run: Run
    conversation: Conversation
    last_seq: int
    deltas: int
    session_events: int
    has_queue: bool


def _lock_to_end(run_id: uuid.UUID, **guard: Any) -> _Ending | None:
    conversation = _lock_conversation_of(run_id)
    # One statement with the lock. PostgreSQL counts before it has the lock, so nobody may write to the log
    # meanwhile: this process's writer is closed, and another process's claim has lost to the guard.
    found: Sequence[Any] = list(Run.objects.raw(_LOCK_RUN, [events.TEXT, _stored_id(run_id)]))
    if not found or any(getattr(found[0], name) != value for name, value in guard.items()):
        return None
    run = found[0]
    run.conversation = conversation
    return _Ending(
        run, conversation, run.stored_seq, run.stored_deltas, run.stored_payloads, bool(run.has_queue)
    )


def _stored_id(run_id: uuid.UUID) -> Any:
    return Run._meta.pk.get_db_prep_value(run_id, connection)


def _locking(statement: str) -> str:
    return statement if settings.ON_SQLITE else f"{statement} FOR UPDATE"


# Raw SQL: the ORM takes 6 ms of CPU for these two statements, most of it to build them; this takes 1.2 ms.
_LOCK_CONVERSATION = _locking(
    "SELECT * FROM chat_conversation WHERE id = (SELECT conversation_id FROM chat_run WHERE id = %s)"
)
_LOCK_RUN = _locking(
    """
    SELECT run.*,
        (SELECT coalesce(max(seq), 0) FROM chat_runevent WHERE run_id = run.id) AS stored_seq,
        (SELECT count(*) FROM chat_runevent WHERE run_id = run.id AND type = %s) AS stored_deltas,
        (SELECT count(*) FROM chat_sessionevent WHERE run_id = run.id) AS stored_payloads,
        EXISTS (SELECT 1 FROM chat_queuedask WHERE conversation_id = run.conversation_id) AS has_queue
    FROM chat_run AS run WHERE run.id = %s
    """
)


def _end(ending: _Ending, outcome: Outcome, reply: Message | None, rest: Sequence[Event]) -> list[Row]:
    now = timezone.now()
    run, conversation, end = ending.run, ending.conversation, outcome.end
    if conversation.deleted_at and end.type != events.COMPLETED:
        end = End(events.STOPPED, "deleted")
    elif run.stop_code and end == End(events.STOPPED):
        end = End(events.STOPPED, run.stop_code)
    changed: dict[str, Any] = {"updated_at": now}  # of the conversation
    if reply is not None:
        reply.conversation, reply.parent_id, reply.run, reply.created_at = (
            conversation,
            run.prompt_id,
            run,
            now,
        )
        statements.insert(reply)
        run.bytes = len(reply.text.encode())
        if conversation.head_id == run.prompt_id:
            changed["head_id"] = reply.pk
    run.reply = reply
    run.status, run.code, run.finish, run.ended_at = STATUS_OF[end.type], end.code, end.finish, now
    run.invocation_id, run.model = outcome.invocation_id, outcome.model
    for name in USAGE:
        setattr(run, f"usage_{name}", getattr(outcome.usage, name))
    run.ttft_ms, run.duration_ms = outcome.ttft_ms, outcome.duration_ms
    run.deltas = ending.deltas + sum(event.type == events.TEXT for event in rest)
    run.failure = outcome.failure if end is outcome.end else None  # not if a deletion replaced the end
    if outcome.state is not None:
        run.state_after = json.dumps(outcome.state)
    requests = outcome.requests if end is outcome.end else ()
    for request in requests:
        request.run = run
        request.approvers = approvers.group_of(conversation, request.tool)
    PersonRequest.objects.bulk_create(requests)
    waits = [Event(events.WAITING, request_json(request)) for request in requests]
    rows = append(run.pk, [*rest, *waits, Event(end.type, terminal_data(run))], ending.last_seq)
    run.last_seq = rows[-1].seq
    concerned = approvers.concerned(conversation) if requests else ()
    run.last_change = changes.announce(run.owner_id, concerned)
    if requests:
        changed["waiting_change"] = run.last_change
    changed |= _end_question(run, conversation, outcome.question)
    statements.update(Run, run.pk, **{name: getattr(run, name) for name in _ENDED_COLUMNS})
    _store_session(run, outcome, ending.session_events)
    statements.update(Conversation, conversation.pk, **changed)
    hooks.tell_of_end(run)
    if ending.has_queue:
        queue.ask_next(conversation, run.process_id)
    seconds = (now - run.created_at).total_seconds()
    transaction.on_commit(partial(metrics.run_seconds.observe, seconds, run.status, run.code))
    return rows


def add_usage(run_id: uuid.UUID, usage: Usage) -> None:
    """Add the usage of a model call that was made for an ended run, such as its title."""
    added = {f"usage_{name}": F(f"usage_{name}") + getattr(usage, name) for name in USAGE}
    Run.objects.filter(pk=run_id).update(**added)


_ENDED_COLUMNS = [
    "status", "reply_id", "code", "finish", "ended_at", "ttft_ms", "duration_ms", "deltas", "bytes",
    "last_seq", "last_change", "state_after", "invocation_id", "model", "failure",
    *(f"usage_{name}" for name in USAGE),
]  # fmt: skip


@transaction.atomic
def write_question(claim: Claim, text: str) -> bool:
    """Write the words of a live run's member into its prompt; False if the run is another's.

    The end of the run may complete them. No other message is written twice.
    """
    run = _lock(claim.run, status=Run.Status.RUNNING, epoch=claim.epoch)
    if run is None:
        return False
    for check_prompt in hooks.check_prompt:
        check_prompt(run.owner, text)
    _write_question(run, text)
    return True


def _end_question(run: Run, conversation: Conversation, question: Question | None) -> dict[str, Any]:
    """Write a live run's question; return the columns of the conversation that change with it."""
    if question is None:
        return {}
    is_first = _write_question(run, question.text)
    if not (is_first and question.text) or conversation.title_is_manual:
        return {}
    return {"title": title_of(question.text), "last_change": run.last_change}


def _write_question(run: Run, text: str) -> bool:
    """Write the prompt's text. Return whether it is the first one of its conversation."""
    prompt = Message.objects.only("parent_id", "hidden_at", "text").get(pk=run.prompt_id)
    if prompt.hidden_at is None and prompt.text != text:
        Message.objects.filter(pk=prompt.pk).update(text=text, parts=question_items(text))
    return prompt.parent_id is None and prompt.hidden_at is None


def _draft(fold: Fold, html: str | None) -> Message:
    return Message(
        role=Message.Role.ASSISTANT,
        agent=fold.agent,
        text=fold.text,
        parts=fold.parts(),
        html=html or "",
        renderer_version=0 if html is None else RENDERER_VERSION,
    )


def _append_session(run: Run, payloads: Sequence[str], position: int) -> None:
    new = [SessionEvent(run=run, position=position + n, payload=p) for n, p in enumerate(payloads)]
    statements.insert(*new)


def _store_session(run: Run, outcome: Outcome, position: int) -> None:
    """Store the session's last payloads, the first at ``position``, and what the run changed beyond it."""
    if outcome.question:  # its place is the first one, which the run's writer has left free
        _append_session(run, [outcome.question.payload] if outcome.question.payload else [], 0)
        position += 1
    _append_session(run, outcome.session_events, position)
    agent = run.conversation.agent
    # Write in the order of the keys, or two runs that end at the same time can deadlock.
    users, apps = sorted(outcome.user_state.items()), sorted(outcome.app_state.items())
    UserState.objects.bulk_create(
        [UserState(user_id=run.owner_id, agent=agent, key=k, value=json.dumps(v)) for k, v in users],
        update_conflicts=True,
        unique_fields=["user", "agent", "key"],
        update_fields=["value"],
    )
    AppState.objects.bulk_create(
        [AppState(agent=agent, key=k, value=json.dumps(v)) for k, v in apps],
        update_conflicts=True,
        unique_fields=["agent", "key"],
        update_fields=["value"],
    )
