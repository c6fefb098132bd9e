"""Decisions of a moderator about a member's messages, conversations and account, by the services of staff."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Group
from django.utils import timezone

from accounts.models import User
from chat.models import Conversation, Message, Run
from chat.moderated import ModerationReason
from chat.moderation import decisions
from chat.moderation.decisions import Why
from chat.moderation.groups import MODERATOR
from chat.moderation.models import Decision

WORDS = "Please keep to the rules."


def moderator() -> User:
    """Return the account that decides; nobody can sign in as it."""
    desk, is_new = User.objects.get_or_create(username="desk", defaults={"is_staff": True})
    if is_new:
        desk.groups.add(Group.objects.get(name=MODERATOR))
    return desk


def hide(message: Any, reason: str = ModerationReason.HARMFUL, words: str = WORDS) -> None:
    found = Message.objects.select_related("conversation").get(pk=message)
    decisions.hide_message(moderator(), found, Why(reason, words))


def hide_running(run: Any) -> None:
    """End a running answer without its text."""
    decisions.hide_running(moderator(), Run.objects.get(pk=run), Why(ModerationReason.HARMFUL, WORDS))


def restore(message: Any) -> None:
    """Show a hidden message again."""
    decisions.take_back(moderator(), Decision.objects.get(kind="hide", message=message, ended_at=None))


def lock(conversation: Any, reason: str = ModerationReason.ILLEGAL, words: str = WORDS) -> None:
    found = Conversation.objects.get(pk=conversation)
    decisions.impose_lock(moderator(), found, Why(reason, words))


def unlock(conversation: Any) -> None:
    found = Decision.objects.get(kind="lock", conversation=conversation, ended_at=None)
    decisions.take_back(moderator(), found)


def suspend(user: Any, days: float = 1, reason: str = ModerationReason.HARMFUL) -> None:
    decisions.suspend(moderator(), user, timezone.now() + timedelta(days=days), Why(reason, WORDS))


def end_suspension(user: Any) -> None:
    decisions.take_back(moderator(), Decision.objects.get(kind="suspend", member=user, ended_at=None))


def warn(user: Any) -> None:
    decisions.warn(moderator(), user, Why(ModerationReason.HARMFUL, WORDS))


def stop(run: Any) -> None:
    decisions.stop_answer(moderator(), Run.objects.get(pk=run), Why(ModerationReason.HARMFUL, WORDS))
