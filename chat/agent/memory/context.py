"""What a run starts from: the runs before it on its branch, and the state they left."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db.models import Count, Sum
from django.db.models.functions import Length
from google.adk.utils._function_call_names import (
    REQUEST_CONFIRMATION_FUNCTION_CALL_NAME,
    REQUEST_EUC_FUNCTION_CALL_NAME,
)

from chat.agent.memory.payload import calls_of, of_question, parts_of, results_for
from chat.agent.memory.session_data import Turn
from chat.agent.memory.state import deltas_of
from chat.models import AppState, Message, Run, SessionEvent, UserState

CHARACTERS_PER_TOKEN = 4  # of an event's JSON, roughly
NO_STATE = "{}"
NOT_ANSWERED = {"error": "not answered"}  # the result of a call that waited when the next question came


def load_turn(run: Run, own_payloads: Sequence[str] = ()) -> Turn:
    """The turn of a claimed run, with the events it has stored already."""
    runs = runs_before(run.prompt.parent_id)
    turn = Turn(
        run_id=run.pk,
        conversation_id=str(run.conversation_id),
        user_id=str(run.owner_id),
        agent=run.conversation.agent,
        prompt=run.prompt.text,
        past=without_open_calls(payloads_of(runs)),
        state=state_after(runs),
        user_state=user_state(run.owner_id, run.conversation.agent),
        app_state=app_state(run.conversation.agent),
        updated_at=run.conversation.updated_at.timestamp(),
    )
    for payload in own_payloads:
        turn.take(payload, deltas_of(payload))
    return turn


def runs_before(end: uuid.UUID | None) -> list[uuid.UUID]:
    """The runs that count on the branch that ends in message ``end``, oldest first.

    For each prompt the run whose reply is on the branch, else its newest ended run; what a
    moderator has hidden is left out.
    """
    messages = Message.objects.only("id", "role", "parent_id", "run_id", "hidden_at")  # not their texts
    branch = messages.branch(end, limit=settings.CONTEXT_EVENTS)
    answered = {reply.parent_id: reply for reply in branch if reply.role == Message.Role.ASSISTANT}
    prompts = [message for message in branch if message.role == Message.Role.USER]
    newest = dict(
        Run.objects.filter(prompt__in=[p.pk for p in prompts if p.pk not in answered])
        .exclude(ended_at=None)
        .order_by("created_at", "id")
        .values_list("prompt_id", "id")
    )
    found: list[uuid.UUID] = []
    for prompt in prompts:
        reply = answered.get(prompt.pk)
        run_id = reply.run_id if reply else newest.get(prompt.pk)
        hidden = prompt.hidden_at or (reply and reply.hidden_at)
        if run_id and not hidden:
            found.append(run_id)
    return found


def payloads_of(runs: Sequence[uuid.UUID]) -> list[str]:
    """The ADK events of these runs, as many of the newest runs as the window holds."""
    found: dict[uuid.UUID, list[str]] = {run_id: [] for run_id in _within_window(runs)}
    rows = SessionEvent.objects.filter(run__in=found).order_by("position").values_list("run_id", "payload")
    for run_id, payload in rows:
        found[run_id].append(payload)
    _ask_for_the_silent(found)
    return [payload for payloads in found.values() for payload in payloads]


def without_open_calls(payloads: Sequence[str]) -> list[str]:
    """Return ``payloads`` with a result after each event whose calls nothing answers.

    A call waits for a person, and the person asked something else: the model is told so. Models refuse a
    history in which calls and results do not pair. What ADK keeps from models needs no result.
    """
    answered = {
        part["functionResponse"].get("id")
        for payload in payloads
        if '"functionResponse"' in payload
        for part in parts_of(payload)
        if "functionResponse" in part
    }
    closed: list[str] = []
    for payload in payloads:
        closed.append(payload)
        if '"functionCall"' in payload:
            open_calls = [call for call in calls_of(payload) if call.get("id") not in answered | {None}]
            unseen = (REQUEST_CONFIRMATION_FUNCTION_CALL_NAME, REQUEST_EUC_FUNCTION_CALL_NAME)
            if calls := [call for call in open_calls if call["name"] not in unseen]:
                closed.append(results_for(payload, calls, NOT_ANSWERED))
    return closed


def _within_window(runs: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """The newest of these runs whose events fit, oldest first; the last one always does."""
    sizes = {
        run_id: (events, size)
        for run_id, events, size in SessionEvent.objects.filter(run__in=runs)
        .values_list("run")
        .annotate(events=Count("id"), size=Sum(Length("payload")))
    }
    kept: list[uuid.UUID] = []
    events = size = 0
    for run_id in reversed(runs):
        more_events, more_size = sizes.get(run_id, (1, 0))
        events, size = events + more_events, size + more_size
        too_large = size > settings.CONTEXT_TOKENS * CHARACTERS_PER_TOKEN
        if kept and (events > settings.CONTEXT_EVENTS or too_large):
            break
        kept.append(run_id)
    return kept[::-1]


def _ask_for_the_silent(found: dict[uuid.UUID, list[str]]) -> None:
    """A run that never began (stopped in the queue, say) has no events; its question was asked."""
    silent = [run_id for run_id, payloads in found.items() if not payloads]
    if silent:
        for run in Run.objects.filter(pk__in=silent).select_related("prompt"):
            asked = run.prompt.created_at.timestamp()
            found[run.pk].append(of_question(run.prompt.text, f"run-{run.pk}", asked))


def state_after(runs: Sequence[uuid.UUID]) -> dict[str, Any]:
    """The session's state after the last of these runs.

    No key is ever taken out of a state. So an empty one after another was left by a run that never
    began, and the one before it counts.
    """
    states = Run.objects.filter(pk__in=runs[-1:]).values_list("state_after", flat=True)
    stored = states.first() or NO_STATE
    if stored == NO_STATE:
        left = set(Run.objects.filter(pk__in=runs).exclude(state_after=NO_STATE).values_list("pk", flat=True))
        last = next((run_id for run_id in reversed(runs) if run_id in left), None)
        stored = Run.objects.values_list("state_after", flat=True).get(pk=last) if last else NO_STATE
    state: dict[str, Any] = json.loads(stored)
    return state


def user_state(user_id: Any, agent: str) -> dict[str, Any]:
    rows = UserState.objects.filter(user_id=user_id, agent=agent).values_list("key", "value")
    return {key: json.loads(value) for key, value in rows}


def app_state(agent: str) -> dict[str, Any]:
    rows = AppState.objects.filter(agent=agent).values_list("key", "value")
    return {key: json.loads(value) for key, value in rows}
