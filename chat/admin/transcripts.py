"""Transcript of a conversation for moderators: its messages as the owner sees them, and their runs."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from chat.access import access_message
from chat.models import Conversation, Message, Run
from chat.pages import transcript
from chat.pages.transcript import LiveReply, PageMessage

TRANSCRIPT_LENGTH = 100


@dataclass(slots=True)
class TranscriptEntry:
    """Message with its versions and runs."""

    shown: PageMessage
    siblings: list[uuid.UUID]  # all versions of the message, itself included
    runs: list[Run]  # the run of a reply, or the runs of a question that have no reply

    @property
    def message(self) -> Message:
        return self.shown.message

    @property
    def version(self) -> int:
        """Its number among its siblings, from 1."""
        return self.siblings.index(self.message.pk) + 1

    @property
    def previous(self) -> uuid.UUID | None:
        return self.siblings[self.version - 2] if self.version > 1 else None

    @property
    def following(self) -> uuid.UUID | None:
        return self.siblings[self.version] if self.version < len(self.siblings) else None


@dataclass(frozen=True, slots=True)
class Transcript:
    """Page of a branch."""

    entries: list[TranscriptEntry]
    older: uuid.UUID | None  # the first message, if there are older ones
    is_active_branch: bool
    is_older: bool
    live: LiveReply | None


def transcript_of(conversation: Conversation, *, message: str = "", before: str = "") -> Transcript:
    """Return the last messages of the active branch, or of the newest branch through ``message``.

    With ``before``, the messages before it. Raises the 404 refusal for a message of another conversation.
    """
    end = _end(conversation, message, before)
    branch = (
        Message.objects.select_related("run").defer("run__state_after").branch(end, limit=TRANSCRIPT_LENGTH)
    )
    unanswered = _runs_without_reply(branch)
    active = next((run for run in unanswered if run.is_active), None)
    return Transcript(
        entries=_entries(branch, unanswered),
        older=branch[0].pk if branch and branch[0].parent_id else None,
        is_active_branch=not before and end == conversation.head_id,
        is_older=bool(before),
        live=transcript.live_reply(active) if active else None,
    )


def _end(conversation: Conversation, message: str, before: str) -> uuid.UUID | None:
    if before:
        return access_message(conversation, before).parent_id
    if message:
        return Message.objects.leaf_below(access_message(conversation, message).pk)
    return conversation.head_id


def _runs_without_reply(branch: Sequence[Message]) -> list[Run]:
    """Return the runs of the branch's questions that have no reply, active ones included."""
    prompts = [message.pk for message in branch if message.role == Message.Role.USER]
    unanswered = Run.objects.filter(prompt__in=prompts, reply=None).order_by("created_at", "id")
    return list(unanswered.select_related("conversation").defer("state_after"))


def _entries(branch: Sequence[Message], unanswered: Sequence[Run]) -> list[TranscriptEntry]:
    siblings = Message.objects.siblings_of(branch)
    entries = []
    for shown in transcript.page_messages(branch, may_ask=False):
        message = shown.message
        runs = [message.run] if message.run else [run for run in unanswered if run.prompt_id == message.pk]
        entries.append(TranscriptEntry(shown, siblings[message.parent_id], runs))
    return entries
