"""The page where staff open a conversation: its facts, and the reason that they give."""

from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import User
from chat import refusals
from chat.access import access_as_staff, may_look, parse_id
from chat.admin.conversations import status_html
from chat.files.models import File
from chat.http import parsing
from chat.http.fields import Fields, Flag, Id
from chat.http.file_responses import file_response
from chat.models import Conversation
from chat.moderation import grants
from chat.moderation.duties import BREAK_GLASS, READ_TEXT, staff_with
from chat.moderation.models import CONSENT_DAYS, DELAY_DAYS_MAX, GRANT_MINUTES, GrantReason
from chat.refusals import Refusal


class OpeningForm(Fields):
    """Fields of the forms: a reason, or one of the buttons."""

    reason: str = ""
    text: str = ""
    delay_days: str = "0"
    consent: Flag = False
    extend: Id = None
    end: Id = None


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def opening_page(request: HttpRequest, conversation: str) -> HttpResponse:
    """Show the facts of a conversation and the form that opens it; a POST opens it, and redirects there.

    The query string is that of the transcript.
    """
    staff = staff_with(request, "chat.view_conversation", READ_TEXT)
    found = _conversation(conversation)
    typed, refusal = OpeningForm(), None
    if request.method == "POST":
        typed = OpeningForm.read(parsing.body_of(request))
        try:
            return _redirect(request, found, is_open=_apply(staff, found, typed))
        except Refusal as refused:
            if refused.status == 404:
                raise
            refusal = refused
    status = refusal.status if refusal else 200
    last = found.runs.order_by("-created_at", "-id").only("status").first()
    context = {
        **admin.site.each_context(request),
        "title": _("Open a conversation"),
        "conversation": found,
        "messages_in_it": found.messages.count(),
        "runs_in_it": found.runs.count(),
        "last_status": status_html(last.status) if last else None,
        "consent": None if found.deleted_at else grants.consents(found).first(),
        "may_break_glass": staff.has_perm(BREAK_GLASS),
        "may_view_users": staff.has_perm("accounts.view_user"),
        "may_view_runs": staff.has_perm("chat.view_run"),
        "last_grant": grants.last_grant_of(staff, found),
        "reasons": GrantReason.choices,
        "typed": typed,
        "refusal": refusal,
        "minutes": GRANT_MINUTES,
        "consent_days": CONSENT_DAYS,
        "delay_days_max": DELAY_DAYS_MAX,
        "text_max": grants.TYPED_MAX,
    }
    return render(request, "admin/moderation/opening.html", context, status=status)


@never_cache
@require_safe
def transcript_file(request: HttpRequest, conversation: str, file: str, name: str) -> HttpResponseBase:
    """Send a file of a conversation that staff have opened, a hidden one too. The look is recorded.

    Without the right to look, redirect to the page that opens the conversation.
    """
    found = access_as_staff(request, conversation)
    if not may_look(request, found):
        return HttpResponseRedirect(reverse("open_conversation", args=[found.pk]))
    pk = parse_id(file)
    of_it = Q(message__conversation=found) | Q(run__conversation=found)
    stored = File.objects.filter(of_it, pk=pk, blob__isnull=False).first() if pk else None
    if stored is None:
        raise refusals.not_found()
    return file_response(request, stored)


def _conversation(conversation: str) -> Conversation:
    pk = parse_id(conversation)
    found = grants.openable().filter(pk=pk).first() if pk else None
    if found is None:
        raise refusals.not_found()
    return found


def _apply(staff: User, found: Conversation, typed: OpeningForm) -> bool:
    """Do what the form asks; return whether the conversation is open then."""
    if typed.end:
        grants.end_grant(staff, typed.end)
        return False
    if typed.extend:
        grants.extend_grant(staff, typed.extend)
    elif typed.consent:
        grants.open_by_consent(staff, found)
    else:
        days = typed.delay_days
        if not (days.isascii() and days.isdigit() and len(days) <= 3):
            raise refusals.unprocessable("delay", _("The number of days must be a whole number."))
        grants.open_with_reason(staff, found, typed.reason, typed.text, delay_days=int(days))
    return True


def _redirect(request: HttpRequest, found: Conversation, *, is_open: bool) -> HttpResponse:
    if not is_open:
        return HttpResponseRedirect(reverse("admin:chat_conversation_changelist"), status=303)
    address: Any = reverse("admin:chat_conversation_change", args=[found.pk])
    query = request.GET.urlencode()
    return HttpResponseRedirect(f"{address}?{query}" if query else address, status=303)
