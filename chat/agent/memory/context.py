"""The context of a run: events and state of the earlier runs on its branch, as far as the window holds."""

import json
import uuid
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from google.adk.utils._function_call_names import (
    REQUEST_CONFIRMATION_FUNCTION_CALL_NAME,
    REQUEST_EUC_FUNCTION_CALL_NAME,
)

from chat.agent.memory.file_parts import CHARACTERS_PER_TOKEN, characters_of, question_parts
from chat.agent.memory.hidden import values_left, without_continuations, without_summaries_of
from chat.agent.memory.payload import answered_ids, calls_of, encode_question, encode_results
from chat.agent.memory.session_data import SessionData, stored_delta
from chat.models import AppState, Message, Run, UserState

RUNS_AT_ONCE = 64  # read by one query, until the window is full
NO_STATE = "{}"
# Raw SQL: each run reads these, and the ORM takes a millisecond to build a statement.
_PAYLOADS = "SELECT run_id, payload FROM chat_sessionevent WHERE run_id IN ({}) ORDER BY position"
_STATES = "SELECT state_after FROM chat_run WHERE id IN ({})"
_WITH_STATE = "SELECT id FROM chat_run WHERE state_after <> '{{}}' AND id IN ({})"
# The marks of the member's hidden runs come with the state: a statement of their own would be a round trip.
_SCOPES = """
    SELECT 'user', key, value FROM chat_userstate WHERE user_id = %s AND agent = %s
    UNION ALL SELECT 'app', key, value FROM chat_appstate WHERE agent = %s
    UNION ALL SELECT 'hidden', CAST(id AS CHAR(36)), CAST(hidden_marks AS TEXT) FROM chat_run
        WHERE owner_id = %s AND hidden_marks IS NOT NULL
"""
# The result of a call that still waited for the user when the next question came.
UNANSWERED_RESULT = {"error": "not answered"}


def load_session(run: Run, own_payloads: Sequence[str] = (), *, is_question: bool = False) -> SessionData:
    """Return the session of a claimed run. ``own_payloads`` are the events that it has stored already.

    A run that ``is_question`` is known to answer no requests: they are not looked for.
    """
    scopes = _scopes(run.owner_id, run.conversation.agent)
    marks = {uuid.UUID(key): value for key, value in scopes["hidden"].items()}
    answers = [] if is_question else list(run.answered.order_by("asked_at", "id"))
    past = past_before(run.prompt.parent_id, marks, {answer.run_id for answer in answers})
    session = SessionData(
        run_id=run.pk,
        conversation_id=str(run.conversation_id),
        user_id=str(run.owner_id),
        agent=run.conversation.agent,
        prompt=run.prompt.text,
        attempt=run.attempt,
        prompt_files=files_of(run.prompt),
        prompt_parent=run.prompt.parent_id,
        answers=answers,
        past=close_open_calls(past.payloads, {answer.asking_call for answer in answers}),
        state=past.state,
        user_state=scopes["user"],
        app_state=scopes["app"],
        updated_at=run.conversation.updated_at.timestamp(),
    )
    for payload in own_payloads:
        session.add_stored_event(payload, stored_delta(payload))
    return session


def files_of(question: Message) -> list[dict[str, Any]]:
    """Return the items of a question's files."""
    return [item for item in question.parts.get("items", ()) if item["type"] == "file"]


@dataclass(frozen=True, slots=True)
class Past:
    """The runs on a branch that a later run is given, with their ADK events and the state after them."""

    runs: list[uuid.UUID]
    payloads: list[str]
    state: dict[str, Any]


def past_before(
    end: uuid.UUID | None,
    marks: Mapping[uuid.UUID, Any],
    asked: Set[uuid.UUID] = frozenset(),
    *,
    with_events: bool = True,
) -> Past:
    """Return the past of a question that follows message ``end``, without what a moderator has hidden.

    ``marks`` are those of the member's hidden runs; ``asked`` is as for ``payloads_of``.
    """
    runs, hidden = runs_before(end, settings.CONTEXT_EVENTS)
    if marks:
        runs = without_continuations(runs)
    payloads = payloads_of(runs, asked) if with_events else []
    if not marks:
        return Past(runs, payloads, state_after(runs))
    return Past(runs, without_summaries_of(payloads, hidden), _state_before(runs, hidden, marks))


def _state_before(
    runs: Sequence[uuid.UUID], hidden: Sequence[uuid.UUID], marks: Mapping[uuid.UUID, Any]
) -> dict[str, Any]:
    """Return the state after the last of these runs. What a hidden one has left is as it was before that."""
    state = state_after(runs)
    for run_id in reversed(hidden):
        if left := values_left(state, marks.get(run_id)):
            parent = Run.objects.values_list("prompt__parent", flat=True).get(pk=run_id)
            before = past_before(parent, marks, with_events=False).state  # of a shorter branch
            kept = {key: value for key, value in state.items() if key not in left}
            state = kept | {key: before[key] for key in left if key in before}
    return state


def runs_before(end: uuid.UUID | None, limit: int) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """Return the runs on the branch that ends in message ``end``, oldest first, one for each prompt.

    Only its last ``limit`` messages count. It is the run whose reply is on the branch, else the prompt's
    newest ended run. The second list has those whose prompt or reply a moderator has hidden.
    """
    branch = Message.objects.all().links_above(end, limit)[::-1]
    answered = {reply.parent_id: reply for reply in branch if reply.role == Message.Role.ASSISTANT}
    prompts = [message for message in branch if message.role == Message.Role.USER]
    unanswered = [prompt.id for prompt in prompts if prompt.id not in answered]
    newest: dict[uuid.UUID, uuid.UUID] = {}
    if unanswered:
        ended = Run.objects.filter(prompt__in=unanswered).exclude(ended_at=None)
        newest = dict(ended.order_by("created_at", "id").values_list("prompt_id", "id"))
    found: list[uuid.UUID] = []
    hidden: list[uuid.UUID] = []
    for prompt in prompts:
        reply = answered.get(prompt.id)
        run_id = reply.run_id if reply else newest.get(prompt.id)
        if run_id:
            (hidden if prompt.is_hidden or (reply and reply.is_hidden) else found).append(run_id)
    return found, hidden


def payloads_of(runs: Sequence[uuid.UUID], asked: Set[uuid.UUID] = frozenset()) -> list[str]:
    """Return the ADK events of the newest of these runs, as many runs as fit into the window.

    The run in ``asked`` comes first if it is older: ADK finds an answer's call in it.
    """
    found = _newest_that_fit(runs)
    # At most one: the answers of an ask are to one run.
    found = _payloads_by_run(sorted(asked - found.keys())) | found
    _add_questions_of_unstarted_runs(found)
    return [payload for payloads in found.values() for payload in payloads]


def close_open_calls(payloads: Sequence[str], answered_now: Set[str] = frozenset()) -> list[str]:
    """Return ``payloads`` with a result after each event whose calls have none, except ``answered_now``.

    Such a call waited for the user, who asked something else instead. Models refuse a history with a call
    that has no result.
    """
    answered = answered_ids(payloads) | answered_now | {None}
    closed: list[str] = []
    for payload in payloads:
        closed.append(payload)
        if '"functionCall"' in payload:
            open_calls = [call for call in calls_of(payload) if call.get("id") not in answered]
            # ADK removes these calls from what it sends to a model: they need no result.
            unseen = (REQUEST_CONFIRMATION_FUNCTION_CALL_NAME, REQUEST_EUC_FUNCTION_CALL_NAME)
            if calls := [call for call in open_calls if call["name"] not in unseen]:
                closed.append(encode_results(payload, calls, UNANSWERED_RESULT))
    return closed


def _newest_that_fit(runs: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[str]]:
    """Return the events of the newest of these runs that fit, oldest first. The last run always fits."""
    kept: list[tuple[uuid.UUID, list[str]]] = []
    events = size = 0
    for end in range(len(runs), 0, -RUNS_AT_ONCE):
        some = _payloads_by_run(runs[max(0, end - RUNS_AT_ONCE) : end])
        for run_id, payloads in reversed(some.items()):
            events += len(payloads) or 1
            size += sum(characters_of(payload, json.loads) for payload in payloads)
            too_large = size > settings.CONTEXT_TOKENS * CHARACTERS_PER_TOKEN
            if kept and (events > settings.CONTEXT_EVENTS or too_large):
                return dict(reversed(kept))
            kept.append((run_id, payloads))
    return dict(reversed(kept))


def _payloads_by_run(runs: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[str]]:
    found: dict[uuid.UUID, list[str]] = {run_id: [] for run_id in runs}
    for run_id, payload in _select(_PAYLOADS, runs):
        found[Run._meta.pk.to_python(run_id)].append(payload)
    return found


def _select(statement: str, ids: Sequence[uuid.UUID]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement with a list of ids in place of ``{}``; none without ids."""
    if not ids:
        return []
    stored = [Run._meta.pk.get_db_prep_value(each, connection) for each in ids]
    with connection.cursor() as cursor:
        cursor.execute(statement.format(", ".join(["%s"] * len(stored))), stored)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _add_questions_of_unstarted_runs(found: dict[uuid.UUID, list[str]]) -> None:
    """Add the prompt of each run without events: for example, a run that was stopped in the queue."""
    unstarted = [run_id for run_id, payloads in found.items() if not payloads]
    if unstarted:
        for run in Run.objects.filter(pk__in=unstarted).select_related("prompt"):
            if not (run.prompt.text or files_of(run.prompt)):
                continue  # of a spoken turn that ended before a word was understood
            asked_at = run.prompt.created_at.timestamp()
            found[run.pk].append(
                encode_question(
                    question_parts(run.prompt.text, files_of(run.prompt)), f"run-{run.pk}", asked_at
                )
            )


def state_after(runs: Sequence[uuid.UUID]) -> dict[str, Any]:
    """Return the session's state after the last of these runs."""
    stored = [text for (text,) in _select(_STATES, runs[-1:])]
    # ADK never removes a key from a state. So an empty one after another is that of a run that never
    # started: use the last state that is not empty.
    if stored in ([], [NO_STATE]):
        ids = {Run._meta.pk.to_python(run_id) for (run_id,) in _select(_WITH_STATE, runs)}
        last = [run_id for run_id in runs if run_id in ids][-1:]
        stored = [text for (text,) in _select(_STATES, last)]
    state: dict[str, Any] = json.loads(stored[0]) if stored else {}
    return state


def _scopes(user_id: int, agent: str) -> dict[str, dict[str, Any]]:
    """Return the state of both scopes, "user" and "app", and the marks of hidden runs by id, in one query."""
    found: dict[str, dict[str, Any]] = {"user": {}, "app": {}, "hidden": {}}
    with connection.cursor() as cursor:
        cursor.execute(_SCOPES, [user_id, agent, agent, user_id])
        for scope, key, value in cursor.fetchall():
            found[scope][key] = json.loads(value)
    return found


def marks_of_member(user_id: int) -> dict[uuid.UUID, Any]:
    """Return the marks of the member's hidden runs."""
    return dict(
        Run.objects.filter(owner=user_id, hidden_marks__isnull=False).values_list("pk", "hidden_marks")
    )


def user_state(user_id: int | str, agent: str) -> dict[str, Any]:
    rows = UserState.objects.filter(user_id=user_id, agent=agent).values_list("key", "value")
    return {key: json.loads(value) for key, value in rows}


def app_state(agent: str) -> dict[str, Any]:
    rows = AppState.objects.filter(agent=agent).values_list("key", "value")
    return {key: json.loads(value) for key, value in rows}
