"""Page of what waits for the groups of an approver, and the form that decides one request."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.models import User
from chat import approvers, changes, refusals
from chat.access import parse_id
from chat.answer_fields import payload_in_form
from chat.http import parsing
from chat.http.decisions import store_decision
from chat.http.members import signed_in_user
from chat.models import PersonRequest, Run
from chat.pages.cards import RequestCard, card_of
from chat.pages.transcript import display_name
from chat.pages.views import see_other
from chat.refusals import Refusal
from chat.runs.supervisor import supervisor
from chat.socket import consumer
from chat.waiting import Answer


@dataclass(frozen=True, slots=True)
class WaitingCard:
    """Request of another member, with the names that an approver may see."""

    card: RequestCard
    agent: str
    asker: str

    @property
    def has_confirmation(self) -> bool:
        return self.card.request.kind == PersonRequest.Kind.CONFIRM


@never_cache
@require_GET
def waiting_page(request: HttpRequest) -> HttpResponse:
    """Show the requests that the member may decide as an approver; 404 for a member in no such group."""
    return _render(request)


@never_cache
@require_POST
def decide(request: HttpRequest, request_id: str) -> HttpResponse:
    """Store the decision that a form holds, and redirect to the page, which shows what still waits."""
    try:
        run = _store(request, request_id)
    except Refusal as refusal:
        if refusal.status == 404:
            raise
        return _render(request, refusal)
    if run:
        supervisor.launch_soon(run.pk)
    return see_other("chat:waiting")


def _store(request: HttpRequest, request_id: str) -> Run | None:
    member, form = signed_in_user(request), parsing.body_of(request)
    named, decision = parse_id(request_id), str(form.get(request_id, ""))
    if named is None:
        raise refusals.not_found()
    payload = None
    if decision != PersonRequest.Decision.REJECT:
        # Before it is known that the member may decide: a refusal of a field must not tell that it exists.
        payload = payload_in_form(_visible(member, request_id), form)
    return store_decision(member, Answer(named, decision, payload))


def _visible(member: User, request_id: str) -> PersonRequest:
    found = {str(each.pk): each for each in approvers.requests_for(member) or []}
    named = parse_id(request_id)
    assert named
    # One that is decided or lapsed by now is refused as such when the decision is stored.
    return found.get(request_id) or PersonRequest(pk=named, kind=PersonRequest.Kind.CONFIRM)


def _render(request: HttpRequest, refusal: Refusal | None = None) -> HttpResponse:
    member = signed_in_user(request)
    # Read first: the page may then hear of a change twice, but misses none.
    last_change = changes.last_of([member.pk]).get(member.pk, 0)
    found = sorted(approvers.look_at_requests(member), key=lambda each: each.approvers)
    context: dict[str, Any] = {
        "last_change": last_change,
        "count": len(found),
        "groups": [
            (group, [_card(each) for each in of_group])
            for group, of_group in groupby(found, key=lambda each: each.approvers)
        ],
        "refusal": refusal,
        "signed_out_code": consumer.SIGNED_OUT,
    }
    return render(request, "chat/waiting.html", context, status=refusal.status if refusal else 200)


def _card(request: PersonRequest) -> WaitingCard:
    conversation = request.run.conversation
    return WaitingCard(card_of(request), display_name(conversation.agent), request.run.owner.username)
