"""Decisions of moderators about messages, conversations and accounts, as members read them.

The columns are the core's: every ask, answer, page and stream obeys them. Only chat/moderation sets them.
"""

from datetime import datetime
from typing import Any

from django.db.models import TextChoices
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from chat.events import rfc3339
from chat.models import Conversation, Message


class ModerationReason(TextChoices):
    """Public reason of a decision, and reason of a report."""

    HARMFUL = "harmful", _("It is harmful or dangerous")
    SELF_HARM = "self_harm", _("It encourages somebody to harm themselves")
    ILLEGAL = "illegal", _("It is against the law")
    PRIVACY = "privacy", _("It reveals something private")
    WRONG = "wrong", _("It is wrong or misleading")
    OTHER = "other", _("Another reason")


def lock_of(found: Conversation) -> dict[str, Any] | None:
    """Return ``locked`` of a conversation, as clients receive it."""
    return _mark(found.locked_at, found.locked_reason, found.locked_words)


def hiding_of(found: Message) -> dict[str, Any] | None:
    """Return ``hidden`` of a message, as clients receive it."""
    return _mark(found.hidden_at, found.hidden_reason, found.hidden_words)


def _mark(at: datetime | None, reason: str | None, words: str | None) -> dict[str, Any] | None:
    """Return the code of the reason, the moderator's own words, and the time; None without a time."""
    if at is None:
        return None
    return {"reason": reason or ModerationReason.OTHER.value, "words": words or "", "at": rfc3339(at)}


def hidden_sentence() -> str:
    """Return the sentence in place of a hidden message."""
    return gettext("A moderator has hidden this message.")


def label_of(reason: str | None) -> str:
    """Return the sentence of a reason."""
    return str(ModerationReason(reason or ModerationReason.OTHER).label)
