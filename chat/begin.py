"""Beginning of a run: its question, and the run with its first event."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from accounts import statements
from chat import events
from chat.events import Row
from chat.files.attaching import attach_files, claim_files, items_of
from chat.files.models import File
from chat.models import Conversation, Message, Run, RunEvent


@dataclass(frozen=True, slots=True)
class Reservation:
    """Id of the run that an ask may begin, and the process that executes it, both known before the commit.

    Such a run begins as a claimed one, so that no transaction has to claim it.
    """

    run: uuid.UUID
    process: uuid.UUID

    @property
    def fields(self) -> dict[str, Any]:
        return {"id": self.run, "process_id": self.process, "status": Run.Status.RUNNING, "epoch": 1}


def store_question(
    conversation: Conversation,
    parent: uuid.UUID | None,
    text: str,
    items: list[dict[str, Any]] | None,
    now: datetime,
    files: Sequence[File] = (),
) -> Message:
    """Store a prompt; ``items`` are those of its parts, if they are not just its text and its files.

    ``files`` are own ones, as ``check_files`` returns them.
    """
    claimed = claim_files(conversation, files) if files else []
    said = question_items(text)["items"] if text or not files else []
    question = Message(
        conversation=conversation,
        parent_id=parent,
        role=Message.Role.USER,
        text=text,
        parts={"v": 1, "items": items or (said + items_of(claimed) if claimed else said)},
        created_at=now,
    )
    statements.insert(question)
    if claimed:
        attach_files(conversation, question, claimed)
    return question


def question_items(text: str) -> dict[str, Any]:
    """Return the parts of a prompt that is only text."""
    return {"v": 1, "items": [{"type": "text", "text": text}]}


def begin_run(conversation: Conversation, prompt: Message, now: datetime, change: int, **fields: Any) -> Run:
    """Store a run that answers ``prompt``, with its first event, at the end of the active branch.

    ``change`` is its number in the ledger; ``fields`` are further ones of the run, which is queued without
    those of a reservation.
    """
    # No ``last_change``: the notice of the run tells other tabs.
    statements.update(Conversation, conversation.pk, head_id=prompt.pk, updated_at=now, archived_at=None)
    conversation.updated_at = now
    run = Run(
        conversation=conversation,
        owner_id=conversation.owner_id,
        prompt=prompt,
        created_at=now,
        last_change=change,
        model="",
        **fields,
    )
    statements.insert(run)
    run.begun = row = first_row(run)
    statements.insert(RunEvent(run=run, seq=row.seq, type=row.type, data=row.data))
    return run


def first_row(run: Run) -> Row:
    """Return the row with which the log of ``run`` begins, by its conversation as it is now."""
    conversation = run.conversation
    return Row.of(
        1,
        events.started(
            run=str(run.pk),
            conversation=str(conversation.pk),
            prompt=str(run.prompt_id),
            agent=conversation.agent,
            title=conversation.title,
        ),
    )
