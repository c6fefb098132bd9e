"""Contents of hidden messages, as staff who may look at their conversation see them."""

import copy
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from chat import moderated
from chat.models import Message
from chat.moderation.models import Decision, HiddenMessage
from chat.pages.transcript import PageMessage, page_messages


@dataclass(frozen=True, slots=True)
class HiddenContent:
    """Content of a hidden message, and the decision that hid it."""

    shown: PageMessage
    reason: str
    decision: Decision | None

    @property
    def feedback(self) -> str:
        """Text that its owner gave with a rating."""
        return str((self.shown.message.feedback_detail or {}).get("text", ""))


def contents_of(messages: Iterable[Message]) -> dict[uuid.UUID, HiddenContent]:
    """Return the contents of the hidden ones among some messages of a conversation, by their ids."""
    hidden = {message.pk: message for message in messages if message.hidden_at}
    if not hidden:
        return {}
    whole = [_whole(hidden[kept.pk], kept) for kept in HiddenMessage.objects.filter(pk__in=hidden)]
    by = Decision.objects.filter(kind=Decision.Kind.HIDE, message__in=hidden, ended_at=None)
    decisions = {decision.message_id: decision for decision in by.select_related("decided_by")}
    return {
        shown.message.pk: HiddenContent(
            shown,
            moderated.label_of(hidden[shown.message.pk].hidden_reason),
            decisions.get(shown.message.pk),
        )
        for shown in page_messages(whole, may_ask=False)
    }


def _whole(message: Message, kept: HiddenMessage) -> Message:
    """Return the message as it was; it is not to be saved."""
    whole = copy.copy(message)
    whole.text, whole.parts, whole.html = kept.text, kept.parts, kept.html
    whole.renderer_version, whole.feedback_detail = kept.renderer_version, kept.feedback_detail
    return whole
