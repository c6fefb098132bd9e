"""Queued messages of a conversation, as the page shows them."""

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from chat import queue
from chat.models import Conversation, Run

WHY: dict[str, Promise] = {
    queue.ANSWERING: _("Sent when the answer has ended:"),
    queue.REQUEST: _("Waits until you have decided what the agent asks:"),
    queue.LOCKED: _("Waits because this conversation is locked:"),
    queue.LIMIT: _("Waits until one of your other answers has ended:"),
    queue.SOON: _("Sent in a moment:"),
    Run.Status.STOPPED: _("Waits because the answer was stopped:"),
    Run.Status.FAILED: _("Waits because the answer failed:"),
    Run.Status.EXPIRED: _("Waits because the answer was lost:"),
}
# The queue goes on by itself in the other cases, or cannot be continued.
MAY_SEND = {Run.Status.STOPPED, Run.Status.FAILED, Run.Status.EXPIRED}


def queue_context(conversation: Conversation) -> dict[str, Any]:
    """Return the context of a conversation's queue."""
    queued = queue.queue_json(conversation)
    why = queued[0]["why"] if queued else ""
    return {"queued": queued, "why_queued": WHY[why] if queued else "", "may_send": why in MAY_SEND}
