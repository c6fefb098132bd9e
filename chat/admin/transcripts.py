"""One conversation as a moderator reads it: as its owner sees it, and how each answer came about."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from chat.access import access_message
from chat.models import Conversation, Message, Run
from chat.pages import transcript
from chat.pages.transcript import Live, Turn

PAGE_LENGTH = 100


@dataclass(slots=True)
class Entry:
    """A message. ``runs`` are those that this page is to tell of here: a reply's own, and below a
    question those that left no reply. ``siblings`` are all that stand in its place, itself included.
    """

    turn: Turn
    siblings: list[uuid.UUID]
    runs: list[Run] = field(default_factory=list)

    @property
    def message(self) -> Message:
        return self.turn.message

    @property
    def place(self) -> int:
        """Which of its siblings it is, from 1."""
        return self.siblings.index(self.message.pk) + 1

    @property
    def previous(self) -> uuid.UUID | None:
        return self.siblings[self.place - 2] if self.place > 1 else None

    @property
    def following(self) -> uuid.UUID | None:
        return self.siblings[self.place] if self.place < len(self.siblings) else None


@dataclass(frozen=True, slots=True)
class Transcript:
    """A page of a branch. ``older`` is its first message where others stand above it; ``live`` is the
    reply that is being written.
    """

    entries: list[Entry]
    older: uuid.UUID | None
    is_active_branch: bool
    is_older: bool
    live: Live | None


def transcript_of(conversation: Conversation, *, message: str = "", before: str = "") -> Transcript:
    """The active branch's last messages; with ``message`` those of the newest branch through it; with
    ``before`` those above it. Raises the 404 refusal for a message of another conversation.
    """
    end = _end(conversation, message, before)
    branch = Message.objects.select_related("run").defer("run__state_after").branch(end, limit=PAGE_LENGTH)
    runs = _runs_of(branch)
    active = next((run for run in runs if run.is_active), None)
    return Transcript(
        entries=_entries(branch, runs),
        older=branch[0].pk if branch and branch[0].parent_id else None,
        is_active_branch=not before and end == conversation.head_id,
        is_older=bool(before),
        live=transcript.live(active) if active else None,
    )


def _end(conversation: Conversation, message: str, before: str) -> uuid.UUID | None:
    if before:
        return access_message(conversation, before).parent_id
    if message:
        return Message.objects.leaf_below(access_message(conversation, message).pk)
    return conversation.head_id


def _runs_of(branch: Sequence[Message]) -> list[Run]:
    """The runs of the branch's questions that left no reply, or none yet."""
    prompts = [message.pk for message in branch if message.role == Message.Role.USER]
    unanswered = Run.objects.filter(prompt__in=prompts, reply=None).order_by("created_at", "id")
    return list(unanswered.select_related("conversation").defer("state_after"))


def _entries(branch: Sequence[Message], unanswered: Sequence[Run]) -> list[Entry]:
    siblings = _siblings(branch)
    entries = [
        Entry(turn, siblings[turn.message.parent_id]) for turn in transcript.turns(branch, may_ask=False)
    ]
    for entry in entries:
        if entry.message.run:
            entry.runs = [entry.message.run]
        else:
            entry.runs = [run for run in unanswered if run.prompt_id == entry.message.pk]
    return entries


def _siblings(branch: Sequence[Message]) -> dict[uuid.UUID | None, list[uuid.UUID]]:
    """By parent: what stands below it, in the order of writing."""
    found: dict[uuid.UUID | None, list[uuid.UUID]] = {message.parent_id: [] for message in branch}
    if not branch:
        return found
    family = Message.objects.filter(conversation=branch[0].conversation_id)
    below = family.filter(parent__in=[parent for parent in found if parent])
    rows = below | family.filter(parent=None) if None in found else below
    for pk, parent in rows.order_by("created_at", "id").values_list("pk", "parent_id"):
        found[parent].append(pk)
    return found
