"""JSON of stored objects, as docs/streaming.md promises it."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from accounts.statements import Statement
from chat import waiting
from chat.agent.agents.catalog import AgentInfo
from chat.agent.live import voices
from chat.endings import called_by, explain
from chat.events import rfc3339
from chat.models import Conversation, Message, Run
from chat.moderated import hiding_of, lock_of
from chat.search.found import Hit


def _id(value: uuid.UUID | None) -> str | None:
    return str(value) if value else None


def conversation_json(
    found: Conversation, active_run: uuid.UUID | None, *, is_waiting: bool
) -> dict[str, Any]:
    return {
        "id": str(found.pk),
        "title": found.title,
        "agent": found.agent,
        "pinned": found.pinned_at is not None,
        "archived": found.archived_at is not None,
        "locked": lock_of(found),
        "head": _id(found.head_id),
        "active_run": _id(active_run),
        "created_at": rfc3339(found.created_at),
        "updated_at": rfc3339(found.updated_at),
        "is_waiting": is_waiting,
    }


def agent_json(agent: AgentInfo) -> dict[str, Any]:
    """Return an agent with whether it can speak in a call, and why it cannot."""
    reason = agent.reason
    if agent.available:
        try:
            voices.voice_of(agent.name)
        except voices.NoVoice as error:
            reason = str(error)
    can_speak = agent.available and reason is None
    return {**asdict(agent), "live": can_speak, "live_reason": None if can_speak else reason}


def conversations(found: Sequence[Conversation]) -> list[dict[str, Any]]:
    active = dict(_active.all([each.pk for each in found]))
    # Those without a number never had a request.
    waits = waiting.waiting_conversations([each.pk for each in found if each.waiting_change is not None])
    return [conversation_json(each, active.get(each.pk), is_waiting=each.pk in waits) for each in found]


_active = Statement(
    lambda ids: Run.objects.active().filter(conversation__in=ids).values_list("conversation_id", "id")
)


def messages(found: Sequence[Message]) -> list[dict[str, Any]]:
    """Return messages of one conversation, with their siblings and runs."""
    runs = Run.objects.filter(prompt__in=[m.pk for m in found if m.role == Message.Role.USER])
    newest_runs = dict(runs.order_by("created_at", "id").values_list("prompt_id", "id"))
    siblings = Message.objects.siblings_of(found)
    parts = waiting.parts_with_states(found)
    return [
        {
            "id": str(m.pk),
            "parent": _id(m.parent_id),
            "siblings": [str(pk) for pk in siblings[m.parent_id]],
            "role": m.role,
            "agent": m.agent or None,
            "text": "" if m.hidden_at else m.text,
            "parts": {"v": 1, "items": []} if m.hidden_at else parts[m.pk],
            "hidden": hiding_of(m),
            "run": _id(newest_runs.get(m.pk) if m.role == Message.Role.USER else m.run_id),
            "feedback": feedback(m),
            "created_at": rfc3339(m.created_at),
        }
        for m in found
    ]


def feedback(message: Message) -> dict[str, Any] | None:
    if message.feedback is None or message.hidden_at:
        return None
    return {"value": message.feedback, "reasons": [], "text": "", **(message.feedback_detail or {})}


def hit_json(hit: Hit) -> dict[str, Any]:
    return {
        "conversation": str(hit.conversation),
        "title": hit.title,
        "message": _id(hit.message),
        "role": hit.role,
        "snippet": hit.snippet,
        "created_at": rfc3339(hit.created_at),
    }


def run_json(found: Run) -> dict[str, Any]:
    return {
        "id": str(found.pk),
        "conversation": str(found.conversation_id),
        "status": found.status,
        "mode": found.mode,
        "attempt": found.attempt,
        "prompt": str(found.prompt_id),
        "reply": _id(found.reply_id),
        "code": found.code or None,
        "model": found.model or None,
        "usage": found.usage(),
        "ttft_ms": found.ttft_ms,
        "duration_ms": found.duration_ms,
        "deltas": found.deltas,
        "created_at": rfc3339(found.created_at),
        "ended_at": rfc3339(found.ended_at),
        **({"called": called} if (called := called_by(found)) else {}),
    }


def whole_answer(run_id: uuid.UUID) -> dict[str, Any]:
    """Return the answer to an ask with ``"stream": false``, after its run has ended."""
    found = Run.objects.select_related("reply").get(pk=run_id)
    reply = found.reply
    return {
        "conversation": str(found.conversation_id),
        "run": str(found.pk),
        "status": found.status,
        **explain(found.status, found.code),
        "message": reply
        and {
            "id": str(reply.pk),
            "role": reply.role,
            "text": "" if reply.hidden_at else reply.text,
            "created_at": rfc3339(reply.created_at),
            **({"hidden": hiding_of(reply)} if reply.hidden_at else {}),
        },
        "usage": found.usage(),
    }
