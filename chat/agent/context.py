"""What a run starts from: the runs before it on its branch, and the state they left."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db.models import Count, Sum
from django.db.models.functions import Length

from chat.agent.state import deltas_of
from chat.agent.turn import Turn
from chat.models import AppState, Message, Run, SessionEvent, UserState

BYTES_PER_TOKEN = 4  # of an event's JSON, roughly


def load_turn(run: Run, own_payloads: Sequence[str] = ()) -> Turn:
    """The turn of a claimed run, with the events it has stored already."""
    runs = runs_before(run.prompt.parent_id)
    turn = Turn(
        run_id=run.pk,
        conversation_id=str(run.conversation_id),
        user_id=str(run.owner_id),
        agent=run.conversation.agent,
        invocation_id=run.invocation_id,
        prompt=run.prompt.text,
        past=payloads_of(runs),
        state=state_after(runs),
        user_state=user_state(run.owner_id, run.conversation.agent),
        app_state=app_state(run.conversation.agent),
        updated_at=run.conversation.updated_at.timestamp(),
    )
    for payload in own_payloads:
        turn.own_payloads.append(payload)
        turn.apply(deltas_of(payload))
    return turn


def runs_before(end: uuid.UUID | None) -> list[uuid.UUID]:
    """The runs that count on the branch that ends in message ``end``, oldest first.

    For each prompt the run whose reply is on the branch, else its newest ended run; what a
    moderator has hidden is left out.
    """
    branch = Message.objects.branch(end, limit=settings.CONTEXT_EVENTS)
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
    sizes = {
        run_id: (events, size)
        for run_id, events, size in SessionEvent.objects.filter(run__in=runs)
        .values_list("run")
        .annotate(events=Count("id"), size=Sum(Length("payload")))
    }
    kept: list[uuid.UUID] = []
    events = size = 0
    for run_id in reversed(runs):
        more_events, more_size = sizes.get(run_id, (0, 0))
        events, size = events + more_events, size + more_size
        if kept and (events > settings.CONTEXT_EVENTS or size > settings.CONTEXT_TOKENS * BYTES_PER_TOKEN):
            break
        kept.append(run_id)
    order = {run_id: place for place, run_id in enumerate(reversed(kept))}
    rows = SessionEvent.objects.filter(run__in=kept).order_by("position").values_list("run_id", "payload")
    return [payload for run_id, payload in sorted(rows, key=lambda row: order[row[0]])]


def state_after(runs: Sequence[uuid.UUID]) -> dict[str, Any]:
    """The session's state after the last of these runs."""
    if not runs:
        return {}
    stored = Run.objects.values_list("state_after", flat=True).get(pk=runs[-1])
    state: dict[str, Any] = json.loads(stored)
    return state


def user_state(user_id: Any, agent: str) -> dict[str, Any]:
    rows = UserState.objects.filter(user_id=user_id, agent=agent).values_list("key", "value")
    return {key: json.loads(value) for key, value in rows}


def app_state(agent: str) -> dict[str, Any]:
    rows = AppState.objects.filter(agent=agent).values_list("key", "value")
    return {key: json.loads(value) for key, value in rows}
