"""Requests that wait for a person: which ones are open, and the decisions that an ask brings."""

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.statements import Statement
from chat import refusals
from chat.events import clean_json, rfc3339
from chat.json_schemas import misfit
from chat.models import Conversation, Message, PersonRequest, Run

SAID = 200  # characters of an answer in the prompt message


class RequestState(StrEnum):
    """State of a request, as the API and the page say it."""

    OPEN = "open"
    LAPSED = "lapsed"  # its reply is no longer the end of the active branch
    EXPIRED = "expired"
    DECIDED = "decided"
    IN_DOUBT = "in_doubt"  # approved, and nobody knows whether its tool has acted


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's decision about one request."""

    request: uuid.UUID
    decision: str
    payload: Any = None


def open_requests(conversation: Conversation) -> list[PersonRequest]:
    """Return the requests of a conversation that can be answered now, oldest first."""
    if conversation.deleted_at or conversation.locked_at or conversation.head_id is None:
        return []
    undecided = PersonRequest.objects.filter(
        run__conversation=conversation,
        run__reply__hidden_at=None,
        decision="",
        expires_at__gt=timezone.now(),
    ).select_related("run")
    found = list(undecided.order_by("asked_at", "id"))
    jobs = {request.run.reply_id for request in found if request.is_job}
    branch = set(Message.objects.ids_in_branch(jobs, conversation.head_id)) if jobs else set()
    return [
        request
        for request in found
        if request.run.reply_id == conversation.head_id or (request.is_job and request.run.reply_id in branch)
    ]


def is_open(request: PersonRequest) -> bool:
    """Return whether one of ``PersonRequest.objects.waiting()`` is open: a job may be in another branch."""
    return not request.is_job or request.pk in {each.pk for each in open_requests(request.run.conversation)}


def waiting_conversations(conversations: list[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of the conversations in whose active branch's last reply a request is open."""
    ends = _undecided_in.all(conversations, timezone.now())
    return {conversation for conversation, reply, head in ends if reply == head}


_undecided_in = Statement(
    lambda conversations, now: PersonRequest.objects.filter(
        run__conversation__in=conversations,
        decision="",
        is_job=False,
        expires_at__gt=now,
        run__conversation__deleted_at=None,
        run__conversation__locked_at=None,
        run__reply__hidden_at=None,
    ).values_list("run__conversation", "run__reply", "run__conversation__head")
)


def refuse_decided(conversation: Conversation, answers: Sequence[Answer]) -> None:
    """Raise the 409 refusal if one of the requests of these answers has a decision already."""
    named = PersonRequest.objects.filter(
        pk__in=[answer.request for answer in answers], run__conversation=conversation
    )
    if decided := named.exclude(decision="").order_by("asked_at", "id").first():
        raise refusals.answered(str(decided.answered_by_id) if decided.answered_by_id else None)


def requests_to_answer(conversation: Conversation, answers: Sequence[Answer]) -> list[PersonRequest]:
    """Return the requests of these answers, decided but not stored, in the order of asking.

    Call ``refuse_decided`` first. Raises the 404 refusal for one that is not of this conversation, 403 for
    one that a group decides, 409 for one that is not open, and 422 if another open one of the asker's in the
    same run has no answer, or an answer does not fit.
    """
    by_id = {answer.request: answer for answer in answers}
    named = PersonRequest.objects.filter(pk__in=by_id, run__conversation=conversation).select_related("run")
    found = {request.pk: request for request in named.order_by("asked_at", "id")}
    if len(found) != len(answers):
        raise refusals.not_found()
    if other := next((request for request in found.values() if request.approvers), None):
        raise refusals.not_approver(other.approvers)
    still_open = {request.pk: request for request in open_requests(conversation)}
    if not found.keys() <= still_open.keys():
        raise refusals.lapsed()
    runs = {request.run_id for request in found.values()}
    asked_with = [r.pk for r in still_open.values() if r.run_id in runs and not r.is_job and not r.approvers]
    if len(runs) > 1 or not (set(asked_with) <= found.keys() or all(r.is_job for r in found.values())):
        raise refusals.unprocessable(
            "incomplete", _("All open requests of this answer are decided together.")
        )
    for request in found.values():
        apply_answer(request, by_id[request.pk])
    return list(found.values())


def decided_together(decided: Sequence[PersonRequest]) -> tuple[list[PersonRequest], list[uuid.UUID]]:
    """Return all requests that go on in one run with these decided ones, and the undecided ones among them.

    A job goes on alone.
    """
    if any(request.is_job for request in decided):
        return list(decided), []
    others = PersonRequest.objects.filter(run=decided[0].run_id, is_job=False).exclude(
        pk__in=[request.pk for request in decided]
    )
    beside = list(others.select_related("decided_by", "run"))
    together = sorted([*decided, *beside], key=lambda request: (request.asked_at, request.pk))
    return together, [request.pk for request in beside if not request.decision]


def apply_answer(request: PersonRequest, answer: Answer) -> None:
    """Set the decision of a request, which is not stored. Raises the 422 refusal if it does not fit."""
    decisions = {
        "confirm": {"approve", "reject"},
        "input": {"answer", "reject"},
        "tool": {"answer", "reject"},
    }
    if answer.decision not in decisions[request.kind]:
        raise refusals.unprocessable(
            "payload", _("“%(decision)s” is no answer to this request.") % {"decision": answer.decision}
        )
    if answer.decision == PersonRequest.Decision.ANSWER:
        _check_payload(request, answer.payload)
    try:
        request.decision, request.answer = answer.decision, clean_json(answer.payload)
    except RecursionError as error:
        raise refusals.unprocessable("payload", _("The answer is nested too deeply.")) from error
    if request.decision == PersonRequest.Decision.APPROVE and answer.payload is None:
        request.answer = request.payload  # as it was proposed


def _check_payload(request: PersonRequest, payload: Any) -> None:
    """Raise the 422 refusal for an answer that the request's JSON schema forbids, or that says nothing."""
    if payload in (None, ""):
        raise refusals.unprocessable("payload", _("The answer is missing."))
    if request.schema is not None and (place := misfit(payload, request.schema)):
        raise refusals.unprocessable(
            "payload",
            _("The answer does not fit what the agent asked for: see %(place)s.") % {"place": place[:100]},
        )


def decision_sentence(request: PersonRequest) -> str:
    """Return what was decided about a request."""
    match request.decision:
        case PersonRequest.Decision.APPROVE:
            return _("Approved: %(tool)s") % {"tool": request.tool}
        case PersonRequest.Decision.REJECT:
            return _("Rejected: %(tool)s") % {"tool": request.tool}
    value = request.answer
    answer = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return answer if len(answer) <= SAID else f"{answer[:SAID]}…"


def prompt_sentence(request: PersonRequest, asker: str, decider: str | None = None) -> str:
    """Return what the prompt message says about a decided request: of an approver's, with both names.

    ``decider`` takes the place of the approver's name.
    """
    if not request.approvers:
        return decision_sentence(request)
    decider = _decider(request) if decider is None else decider
    names = {"tool": request.tool, "asker": asker, "decider": decider}
    match request.decision:
        case PersonRequest.Decision.APPROVE:
            return _("Approved by %(decider)s, asked by %(asker)s: %(tool)s") % names
        case PersonRequest.Decision.REJECT:
            return _("Rejected by %(decider)s, asked by %(asker)s: %(tool)s") % names
    answer = {**names, "answer": decision_sentence(request)}
    return _("Answered by %(decider)s, asked by %(asker)s: %(answer)s") % answer


def _decider(request: PersonRequest) -> str:
    return request.decided_by.username if request.decided_by else ""


def part(request: PersonRequest, asker: str) -> dict[str, Any]:
    """Return the item of a prompt message's ``parts`` for a decided request."""
    return {
        "type": "approval",
        "request": str(request.pk),
        "decision": request.decision,
        "tool": request.tool,
        "by": _decider(request),
        "asked_by": asker,
        "approvers": request.approvers or None,
    }


def without_deciders(
    text: str, parts: dict[str, Any], hides: Callable[[PersonRequest], bool]
) -> tuple[str, dict[str, Any]]:
    """Return a prompt message's text and parts without the approvers' names of the requests that it hides."""
    items = parts.get("items", ())
    named = {item["request"]: item for item in items if item.get("type") == "approval" and item.get("by")}
    if not named:
        return text, parts
    hidden = {str(each.pk): each for each in PersonRequest.objects.filter(pk__in=named) if hides(each)}
    for pk, request in hidden.items():
        asker, decider = named[pk]["asked_by"], named[pk]["by"]
        text = text.replace(
            prompt_sentence(request, asker, decider), prompt_sentence(request, asker, _("another member"))
        )
    return text, {
        **parts,
        "items": [item | {"by": ""} if item.get("request") in hidden else item for item in items],
    }


def state_of(request: PersonRequest, head: uuid.UUID | None) -> RequestState:
    """Return the state of a request in a conversation whose active branch ends in message ``head``.

    Reads its ``run``, and ``answered_by`` with its reply.
    """
    if request.answered_by_id:
        return RequestState.IN_DOUBT if is_in_doubt(request) else RequestState.DECIDED
    is_at_end = request.is_job or request.run.reply_id == head
    if request.decision and is_at_end:  # it waits for the decisions of others
        return RequestState.DECIDED
    if request.expires_at <= timezone.now():
        return RequestState.EXPIRED
    return RequestState.OPEN if is_at_end else RequestState.LAPSED


def is_in_doubt(request: PersonRequest) -> bool:
    """Return whether the approved tool was entered, and its run ended before the result was known."""
    run = request.answered_by
    if not (request.started_at and run and run.ended_at) or run.status == Run.Status.COMPLETED:
        return False
    items = run.reply.parts["items"] if run.reply else []
    calls = [item for item in items if item["type"] == "tool" and item["id"] == request.call]
    # A lost run was cut off: its last events may be missing.
    return run.code == "lost" or not any("result" in call or "error" in call for call in calls)


def parts_with_states(messages: Iterable[Message]) -> dict[uuid.UUID, dict[str, Any]]:
    """Return the ``parts`` of these messages by id, each decided request in them with its ``state``."""
    parts = {message.pk: message.parts for message in messages}
    named = [
        item["request"] for each in parts.values() for item in each.get("items", ()) if "request" in item
    ]
    if not named:
        return parts
    decided = PersonRequest.objects.filter(pk__in=named).select_related("run", "answered_by__reply")
    states = {str(request.pk): {"state": state_of(request, None)} for request in decided}
    return {
        pk: {**each, "items": [item | states.get(item.get("request"), {}) for item in each.get("items", ())]}
        for pk, each in parts.items()
    }


def request_json(request: PersonRequest, state: str = "open") -> dict[str, Any]:
    """Return a request as clients receive it; ``state`` is its ``state_of``."""
    return {
        "id": str(request.pk),
        "kind": request.kind,
        "call": request.call,
        "tool": request.tool,
        "args": request.args,
        "hint": request.hint,
        "schema": request.schema,
        "payload": request.payload,
        "approvers": request.approvers or None,
        "expires_at": rfc3339(request.expires_at),
        "job": request.is_job,
        "state": state,
    }
