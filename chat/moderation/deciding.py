"""Pages of decisions outside the queue: about a conversation and its messages, and about a member."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.models import User
from chat import refusals
from chat.access import access_as_staff, access_message, may_look
from chat.admin.transcripts import entries_around
from chat.http import parsing
from chat.http.fields import Fields, Id
from chat.models import Conversation, Message
from chat.moderated import ModerationReason
from chat.moderation import decisions, hiding
from chat.moderation.decisions import DECISION_TEXT_MAX, Why
from chat.moderation.duties import ACT_ON_CONTENT, ACT_ON_MEMBERS, may_act_on, may_decide_about, staff_with
from chat.moderation.hidden_contents import contents_of
from chat.moderation.models import Decision, ReviewItem
from chat.moderation.queue_page import BADGE_MAX
from chat.moderation.review_page import end_of_suspension, sentence_of, suspension_days
from chat.refusals import Refusal

DECISIONS_SHOWN = 100
NEWEST_SHOWN = 20  # conversations of a member
MADE: dict[str, Promise] = {
    "hide": gettext_lazy("The message is hidden. The member reads the reason."),
    "lock": gettext_lazy("The conversation is locked. The member reads the reason."),
    "stop": gettext_lazy("The answer is stopped. The member reads the reason."),
    "warn": gettext_lazy("The warning is sent. It must be acknowledged before the next question."),
    "suspend": gettext_lazy("The account is suspended. The member reads the reason."),
    "end": gettext_lazy("The decision is taken back. The member reads that."),
}


class DirectForm(Fields):
    """Fields of both forms: what is done, to which message, run or decision, and why."""

    do: str = ""
    message: Id = None
    run: Id = None
    decision: Id = None
    until: str = ""
    reason: str = ""
    words: str = ""
    note: str = ""

    @property
    def why(self) -> Why:
        """Raises the 422 refusal."""
        return Why(self.reason, self.words, self.note)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def conversation_page(request: HttpRequest, conversation: str) -> HttpResponse:
    """Show the forms that hide, lock and stop; a POST does it. ``?message=`` names the message.

    Its text is shown to staff with a grant only, and that is a look.
    """
    staff = staff_with(request, ACT_ON_CONTENT)
    found = access_as_staff(request, conversation)
    if not may_decide_about(staff, found.owner, ACT_ON_CONTENT):
        raise PermissionDenied
    named = request.GET.get("message", "")
    message = access_message(found, named) if named else None
    typed, refusal = _submitted(request, lambda form: _decide_content(staff, found, message, form))
    if request.method == "POST" and refusal is None:
        address = reverse("decide_conversation", args=[found.pk])
        return HttpResponseRedirect(f"{address}?message={message.pk}" if message else address, status=303)
    context = {
        **admin.site.each_context(request),
        **_content_shown(request, staff, found, message),
        **_form(typed, refusal),
        "title": _("Decide about a conversation"),
    }
    return render(
        request,
        "admin/moderation/decide_conversation.html",
        context,
        status=refusal.status if refusal else 200,
    )


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def member_page(request: HttpRequest, member: int) -> HttpResponse:
    """Show what was decided about a member, and the forms that warn and suspend; a POST does it."""
    staff = staff_with(request, ACT_ON_MEMBERS)
    found = User.objects.filter(pk=member).first()
    if found is None:
        raise refusals.not_found()
    if not may_act_on(staff, found):
        raise PermissionDenied
    typed, refusal = _submitted(request, lambda form: _decide_account(staff, found, form))
    if request.method == "POST" and refusal is None:
        return HttpResponseRedirect(reverse("decide_member", args=[found.pk]), status=303)
    context = {
        **admin.site.each_context(request),
        **_member_shown(staff, found),
        **_form(typed, refusal),
        **suspension_days(),
        "title": _("Decide about a member"),
    }
    return render(
        request, "admin/moderation/decide_member.html", context, status=refusal.status if refusal else 200
    )


def _submitted(request: HttpRequest, do: Callable[[DirectForm], None]) -> tuple[DirectForm, Refusal | None]:
    """Do what a POST asks for; return what was typed, and the refusal that its page shows."""
    if request.method != "POST":
        return DirectForm(), None
    typed = DirectForm.read(parsing.body_of(request))
    try:
        do(typed)
    except PermissionDenied as denied:
        return typed, sentence_of(denied)
    except Refusal as refusal:
        if refusal.status not in (409, 422):
            raise
        return typed, refusal
    messages.success(request, str(MADE[typed.do]))
    return typed, None


def _form(typed: DirectForm, refusal: Refusal | None) -> dict[str, Any]:
    return {
        "typed": typed,
        "refusal": refusal,
        "reasons": ModerationReason.choices,
        "text_max": DECISION_TEXT_MAX,
    }


def _decide_content(
    staff: User, conversation: Conversation, message: Message | None, form: DirectForm
) -> None:
    if form.do == "hide" and message:
        decisions.hide_message(staff, message, form.why)
    elif form.do == "lock":
        decisions.impose_lock(staff, conversation, form.why)
    elif form.do == "stop":
        run = conversation.runs.filter(pk=form.run).first() if form.run else None
        if run is None:
            raise refusals.unprocessable("action", _("There is no answer to stop."))
        decisions.stop_answer(staff, run, form.why)
    else:
        _take_back(staff, form, conversation=conversation)


def _decide_account(staff: User, member: User, form: DirectForm) -> None:
    if form.do == "warn":
        decisions.warn(staff, member, form.why)
    elif form.do == "suspend":
        until = end_of_suspension(form.until)
        if until is None:
            raise refusals.unprocessable("until", _("Say until when the account is suspended."))
        decisions.suspend(staff, member, until, form.why)
    else:
        _take_back(staff, form, member=member)


def _take_back(staff: User, form: DirectForm, **owned: Any) -> None:
    """Take back a decision about this conversation or member."""
    if form.do != "end":
        raise refusals.unprocessable("action", _("Choose what is to be done."))
    named = Decision.objects.filter(pk=form.decision) if form.decision else Decision.objects.none()
    found = named.filter(**owned).select_related("member").first()
    if found is None:
        raise refusals.not_found()
    decisions.take_back(staff, found, form.note)


# --- what is shown ----------------------------------------------------------------------------------


def _content_shown(
    request: HttpRequest, staff: User, conversation: Conversation, message: Message | None
) -> dict[str, Any]:
    reads = may_look(request, conversation)
    entries = entries_around(conversation, message, 0) if reads and message else []
    hidden = contents_of([entry.message for entry in entries])
    text = ""
    if reads and message:
        text = hidden[message.pk].shown.message.text if message.pk in hidden else message.text
    decided = Decision.objects.filter(conversation=conversation).select_related("decided_by", "message")
    return {
        "conversation": conversation,
        "message": message,
        "entries": entries,
        "hidden": hidden,
        "places": hiding.places_with(message, text) if message and text else [],
        "active_run": conversation.runs.active().first(),
        "decided": _with_ends(decided),
        "may_decide_member": may_act_on(staff, conversation.owner),
        "may_view_users": staff.has_perm("accounts.view_user"),
        "may_view_runs": staff.has_perm("chat.view_run"),
    }


def _member_shown(staff: User, member: User) -> dict[str, Any]:
    own = Conversation.objects.filter(owner=member)
    undecided = ReviewItem.objects.filter(member=member, status__in=ReviewItem.UNDECIDED)
    until = member.suspended_until
    return {
        "member": member,
        "suspended_until": until if until and until > timezone.now() else None,
        "open_items": undecided[: BADGE_MAX + 1].count(),
        "decided": _with_ends(Decision.objects.filter(member=member).select_related("decided_by")),
        "conversations": own.order_by("-updated_at", "-id")[:NEWEST_SHOWN],
        "conversation_count": own.count(),
        "may_view_users": staff.has_perm("accounts.view_user"),
        "may_view_conversations": staff.has_perm("chat.view_conversation"),
        "may_act_on_content": staff.has_perms([ACT_ON_CONTENT, "chat.view_conversation"]),
    }


def _with_ends(found: Any) -> list[tuple[Decision, bool]]:
    """Return the newest decisions, each with whether it can be taken back."""
    now = timezone.now()
    return [
        (
            each,
            each.ended_at is None
            and each.kind != Decision.Kind.STOP
            and not each.acknowledged_at
            and (each.until is None or each.until > now),
        )
        for each in found.order_by("-decided_at", "-pk")[:DECISIONS_SHOWN]
    ]
