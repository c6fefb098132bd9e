"""Requests that wait for a person, as cards with a form."""

import uuid
from dataclasses import dataclass

from django.utils.translation import gettext as _

from chat.answer_fields import HIDDEN_IN_SENTENCE, AnswerField, args_of, inputs_of, visible
from chat.models import Conversation, PersonRequest
from chat.waiting import open_requests


@dataclass(frozen=True, slots=True)
class RequestCard:
    """Open request, as the page shows it."""

    request: PersonRequest
    tool: str
    hint: str
    args: str  # indented JSON, with its hidden characters as escapes; empty without arguments
    fields: list[AnswerField]

    @property
    def is_choice(self) -> bool:
        """Whether it asks for one of some options, which are the arguments of its call."""
        return self.request.kind == PersonRequest.Kind.TOOL and self.request.schema is not None

    @property
    def question(self) -> str:
        """The question to the person, as a sentence."""
        if self.request.kind == PersonRequest.Kind.CONFIRM:
            return _("May the agent use %(tool)s?") % {"tool": self.tool}
        if self.request.kind == PersonRequest.Kind.INPUT:
            return self.hint or _("The agent asks you something.")
        if self.is_choice:
            return _("The agent asks you to choose.")
        return _("The agent waits for the result of %(tool)s.") % {"tool": self.tool}


def cards(conversation: Conversation) -> dict[uuid.UUID, list[RequestCard]]:
    """Return the cards of the open requests of a conversation, by the reply that ended with them."""
    found: dict[uuid.UUID, list[RequestCard]] = {}
    if conversation.waiting_change is None:  # it never had a request
        return found
    for request in open_requests(conversation):
        if request.run.reply_id:
            found.setdefault(request.run.reply_id, []).append(card_of(request))
    return found


def card_of(request: PersonRequest) -> RequestCard:
    return RequestCard(
        request,
        visible(request.tool),
        visible(request.hint, HIDDEN_IN_SENTENCE),
        args_of(request),
        list(inputs_of(request)),
    )
