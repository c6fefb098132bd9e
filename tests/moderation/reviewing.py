"""A conversation of a member with reports, as the tests of the review pages need it, and clients of staff."""

from datetime import timedelta
from typing import Any

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat.models import Conversation, Message
from chat.moderation import reports, review
from chat.moderation.models import ReviewItem

QUEUE = "/admin/moderation/"


def signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def conversation_with(owner: Any, *texts: str, title: str = "canary title") -> Conversation:
    """Return a conversation of questions and replies in turn, each one the child of the one before."""
    conversation = Conversation.objects.create(owner=owner, agent="chat_assistant", title=title)
    parent, begun = None, timezone.now() - timedelta(minutes=len(texts))
    for number, text in enumerate(texts):
        role = Message.Role.ASSISTANT if number % 2 else Message.Role.USER
        parent = Message.objects.create(
            conversation=conversation,
            parent=parent,
            role=role,
            agent="chat_assistant" if number % 2 else "",
            text=text,
            html=f"<p>{text}</p>" if number % 2 else "",
            parts={"v": 1, "items": [{"type": "text", "text": text}]},
            created_at=begun + timedelta(minutes=number),
        )
    Conversation.objects.filter(pk=conversation.pk).update(head=parent)
    conversation.refresh_from_db()
    return conversation


def reported(owner: Any, reply: Message, reason: str = "harmful", note: str = "") -> ReviewItem:
    """Report a reply as its owner, and return its item."""
    report, _is_first = reports.report_reply(owner, reply, reason, note)
    return ReviewItem.objects.get(reports=report)


def address_of(item: ReviewItem) -> str:
    return reverse("review_item", args=[item.pk])


def claimed(staff: Any, item: ReviewItem) -> Client:
    """Claim an item through the page; return the client."""
    client = signed_in(staff)
    answer = client.post(address_of(item), {"do": "claim"})
    assert answer.status_code == 303, answer.content
    return client


def acted(staff: Any, item: ReviewItem, *kinds: str, **fields: Any) -> Any:
    """Claim an item, and act on it; return what was decided."""
    review.claim_item(staff, item.pk)
    return review.act(staff, item.pk, kinds, reason="harmful", **fields)
