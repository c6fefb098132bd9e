"""The context that a conversation gives to its next model call."""

import uuid

from chat.agent.memory import context
from chat.agent.memory.payload import parts_of
from chat.models import Conversation


def context_of(conversation: uuid.UUID) -> list[str]:
    """Return the texts of the conversation that its next model call is given, in order."""
    head = Conversation.objects.values_list("head", flat=True).get(pk=conversation)
    payloads = context.past_before(head, {}).payloads
    return [part["text"] for payload in payloads for part in parts_of(payload) if part.get("text")]
