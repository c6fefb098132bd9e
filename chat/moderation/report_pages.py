"""Pages of a member: to report a reply, one's reports, and the decisions about oneself with appeals."""

from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import User
from chat import refusals
from chat.access import access_reply, parse_id, required_id
from chat.http import paging, parsing
from chat.http.fields import Fields
from chat.http.members import signed_in_user
from chat.moderated import ModerationReason
from chat.moderation import decisions, reports, review
from chat.moderation.decisions import DECISION_TEXT_MAX
from chat.moderation.models import Decision
from chat.moderation.policy import policy_in_force
from chat.refusals import Refusal


class ReportForm(Fields):
    """Fields of the form of a report. A reason that is not chosen is absent."""

    reason: str = ""
    note: str = ""


class AppealForm(Fields):
    """Field of the form of an appeal."""

    text: str = ""


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def report_page(request: HttpRequest, conversation: str, message: str) -> HttpResponse:
    """Show the form to report a reply, and the member's reports of it; a POST stores one."""
    member = signed_in_user(request)
    reply = access_reply(member, message)
    if reply.conversation_id != parse_id(conversation) or reply.hidden_at:
        raise refusals.not_found()
    typed, refusal = ReportForm(), None
    if request.method == "POST":
        typed = ReportForm.read(parsing.body_of(request))
        try:
            reports.report_reply(member, reply, typed.reason, typed.note)
        except Refusal as error:
            refusal = error
        else:
            return _see_other(reverse("report", args=[reply.conversation_id, reply.pk]))
    context = {
        "reply": reply,
        "sent": reports.reports_of(member).filter(item__message=reply).order_by("reported_at", "pk"),
        "policy": policy_in_force(),
        "reasons": ModerationReason.choices,
        "note_max": reports.NOTE_MAX,
        "typed": typed,
    }
    return _rendered(request, "chat/report.html", context, refusal)


@never_cache
@require_safe
def reports_page(request: HttpRequest) -> HttpResponse:
    """Show the member's reports, newest first."""
    own = reports.reports_of(signed_in_user(request)).select_related("item__conversation")
    page, following = paging.page_of_newest(
        own, "reported_at", request.GET.get("cursor"), paging.DEFAULT_LIMIT
    )
    shown = [{"report": each, "status": reports.status_of(each)} for each in page]
    context = {"shown": shown, "next": following, "policy": policy_in_force()}
    return render(request, "account/reports.html", context)


@never_cache
@require_safe
def decisions_page(request: HttpRequest) -> HttpResponse:
    """Show the decisions about the member, newest first, each with its appeal or the form for one."""
    return _decisions(request)


def _decisions(request: HttpRequest, refusal: Refusal | None = None, **typed: Any) -> HttpResponse:
    member = signed_in_user(request)
    own = review.decisions_about(member).select_related("appeal", "conversation", "decided_by")
    page, following = paging.page_of_newest(
        own, "decided_at", request.GET.get("cursor"), paging.DEFAULT_LIMIT
    )
    context = {"shown": list(_shown(page, member)), "next": following, "text_max": DECISION_TEXT_MAX, **typed}
    return _rendered(request, "account/decisions.html", context, refusal)


def _shown(page: list[Decision], member: User) -> Iterator[dict[str, Any]]:
    """Yield what the page shows of each decision."""
    known: dict[tuple[int | None, str], bool] = {}
    for decision in page:
        appeal = review.appeal_against(decision)
        may_appeal = review.can_appeal(decision)
        has_own_decider = False
        if may_appeal or (appeal and not appeal.outcome):
            key = (decision.decided_by_id, decision.kind)
            if key not in known:  # one query for each kind and author, not for each row
                decision.member = member
                known[key] = review.own_decider_only(decision)
            has_own_decider = known[key]
        yield {
            "decision": decision,
            "appeal": appeal,
            "may_appeal": may_appeal,
            "has_own_decider": has_own_decider,
            "is_unread": decision.kind == Decision.Kind.WARN
            and decision.acknowledged_at is None
            and decision.ended_at is None,
        }


@never_cache
@require_POST
def appeal_by_form(request: HttpRequest, decision: str) -> HttpResponse:
    """Store an appeal, and redirect to its decision. A form that is sent twice stores one."""
    member, named = signed_in_user(request), required_id(decision)
    text = AppealForm.read(parsing.body_of(request)).text
    try:
        review.appeal(member, named, text)
    except Refusal as refusal:
        if refusal.status == 404:
            raise
        stored = review.decisions_about(member).filter(pk=named, appeal__text=text)
        if refusal.code != "appealed" or not stored.exists():
            return _decisions(request, refusal, refused=named, typed_text=text)
    return _to_decision(named)


@never_cache
@require_POST
def acknowledge_by_form(request: HttpRequest, decision: str) -> HttpResponse:
    """Store that the member has read a warning, and redirect to it."""
    found = decisions.acknowledge(signed_in_user(request), required_id(decision))
    return _to_decision(found.pk)


def _to_decision(decision: Any) -> HttpResponse:
    return _see_other(f"{reverse('decisions')}#d-{decision}")


def _see_other(address: str) -> HttpResponse:
    return HttpResponseRedirect(address, status=303)


def _rendered(
    request: HttpRequest, template: str, context: dict[str, Any], refusal: Refusal | None
) -> HttpResponse:
    """Return the page; with a refusal, it has its status and shows its sentence."""
    response = render(
        request, template, {**context, "refusal": refusal}, status=refusal.status if refusal else 200
    )
    if refusal and refusal.retry_after is not None:
        response["Retry-After"] = str(refusal.retry_after)
    return response
