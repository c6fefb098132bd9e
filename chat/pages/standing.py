"""Decisions of moderators that close the message field, or that its member has to read."""

from dataclasses import dataclass
from datetime import datetime

from accounts.models import User
from chat.models import Conversation
from chat.moderated import label_of


@dataclass(frozen=True, slots=True)
class Standing:
    """State of a member, and of the shown conversation, by what moderators decided."""

    suspended_until: datetime | None  # None if the member may ask
    suspended_reason: str
    locked_at: datetime | None
    locked_reason: str
    locked_words: str
    is_warned: bool  # and has not acknowledged it

    @property
    def may_ask(self) -> bool:
        return not (self.suspended_until or self.locked_at)


def standing_of(member: User, conversation: Conversation | None) -> Standing:
    is_suspended = member.is_suspended()
    locked_at = conversation.locked_at if conversation else None
    return Standing(
        member.suspended_until if is_suspended else None,
        label_of(member.suspended_reason) if is_suspended and member.suspended_reason else "",
        locked_at,
        label_of(conversation.locked_reason) if conversation and conversation.locked_reason else "",
        (conversation.locked_words if conversation and locked_at else "") or "",
        member.warned_at is not None,
    )
