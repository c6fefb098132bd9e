"""Outcomes of the requests of a conversation, which the page shows below the replies that asked."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.statements import Statement
from chat.answer_fields import HIDDEN_IN_SENTENCE, args_of, visible
from chat.models import Message, PersonRequest, Run
from chat.waiting import decision_sentence, is_in_doubt


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """Request that can no longer be decided, or that was decided.

    ``state`` is "approve", "reject", "answer", "lapsed", "expired" or "in_doubt".
    """

    request: PersonRequest
    state: str
    name: str  # of the tool, or the question
    sentence: str
    args: str


def requests_of(branch: Sequence[Message], runs: Collection[Run]) -> list[PersonRequest]:
    """Return the requests that these messages asked, and those that these runs answered, oldest first."""
    ids = {message.run_id for message in branch if message.role == Message.Role.ASSISTANT}
    ids |= {run.pk for run in runs}
    found = [each for each in ids if each]
    return _asked_or_answered.all(found, found)


_asked_or_answered = Statement(
    lambda asked, answered: (
        PersonRequest.objects.filter(Q(run__in=asked) | Q(answered_by__in=answered))
        .select_related("answered_by__reply", "decided_by")
        .order_by("asked_at", "id")
    )
)


def outcome_of(
    request: PersonRequest, open_now: Collection[uuid.UUID], *, is_end: bool
) -> RequestOutcome | None:
    """Return what happened to a request; None while it can be decided.

    ``is_end``: no message follows the reply that asked.
    """
    if is_in_doubt(request):
        state, sentence = "in_doubt", _("Approved. It may have run: its result is not known.")
    elif request.decision and request.answered_by is None and not is_end:
        state, sentence = "lapsed", _("Decided, and not done: another message came instead.")
    elif request.approvers and request.decision and request.decided_by:
        state = request.decision
        decision = {"decision": request.get_decision_display(), "name": request.decided_by.username}
        sentence = _("%(decision)s by %(name)s") % decision
    elif request.decision == PersonRequest.Decision.APPROVE:
        state, sentence = request.decision, _("Approved")
    elif request.decision == PersonRequest.Decision.REJECT:
        state, sentence = request.decision, _("Rejected")
    elif request.decision:
        answer = visible(decision_sentence(request), HIDDEN_IN_SENTENCE)
        state, sentence = request.decision, _("Answered: %(answer)s") % {"answer": answer}
    elif request.pk in open_now:
        return None
    elif request.expires_at <= timezone.now():
        state, sentence = "expired", _("Not answered in time. It was not done.")
    elif is_end:  # of a locked conversation
        return None
    else:
        state, sentence = "lapsed", _("Not answered: another message came instead. It was not done.")
    is_question = request.kind == PersonRequest.Kind.INPUT and request.hint
    name = visible(request.hint, HIDDEN_IN_SENTENCE) if is_question else visible(request.tool)
    return RequestOutcome(request, state, name, sentence, args_of(request))
