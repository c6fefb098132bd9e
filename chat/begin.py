"""Beginning of a run: its question, and the run with its first event."""

import uuid
from datetime import datetime
from typing import Any

from chat import events
from chat.models import Conversation, Message, Run, RunEvent


def store_question(
    conversation: Conversation,
    parent: uuid.UUID | None,
    text: str,
    items: list[dict[str, Any]] | None,
    now: datetime,
) -> Message:
    """Store a prompt; ``items`` are those of its parts, if they are not just its text."""
    return Message.objects.create(
        conversation=conversation,
        parent_id=parent,
        role=Message.Role.USER,
        text=text,
        parts={"v": 1, "items": items or [{"type": "text", "text": text}]},
        created_at=now,
    )


def begin_run(conversation: Conversation, prompt: Message, now: datetime, change: int, **fields: Any) -> Run:
    """Store a queued run that answers ``prompt``, with its first event, at the end of the active branch.

    ``change`` is its number in the ledger; ``fields`` are further ones of the run.
    """
    # No ``last_change``: the notice of the run tells other tabs.
    Conversation.objects.filter(pk=conversation.pk).update(head=prompt, updated_at=now, archived_at=None)
    run = Run.objects.create(
        conversation=conversation,
        owner_id=conversation.owner_id,
        prompt=prompt,
        created_at=now,
        last_change=change,
        **fields,
    )
    started = events.started(
        run=str(run.pk),
        conversation=str(conversation.pk),
        prompt=str(prompt.pk),
        agent=conversation.agent,
        title=conversation.title,
    )
    RunEvent.objects.create(run=run, seq=1, type=started.type, data=events.encode_json(started.data))
    return run
