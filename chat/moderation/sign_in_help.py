"""Help for a member who cannot sign in: a letter with a link, or without a mail server the link itself."""

import hashlib
import secrets
from typing import Any

from allauth.account.internal.flows.login import perform_login
from allauth.account.models import Login
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts.labelled_forms import ResetPasswordForm, SetPasswordForm
from accounts.models import User
from chat import refusals
from chat.http import parsing
from chat.http.fields import Fields
from chat.moderation.account_acts import record_act
from chat.moderation.duties import ACT_ON_MEMBERS, may_act_on, staff_with
from chat.moderation.grants import TYPED_MAX, check_reason
from chat.moderation.models import LINK_LENGTH, LINK_MINUTES, GrantReason, OneTimeLink
from chat.refusals import Refusal

TOKEN_BYTES = 32


class HelpForm(Fields):
    """Fields of the form."""

    reason: str = ""
    text: str = ""


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def help_page(request: HttpRequest, member: int) -> HttpResponse:
    """Show the form; a POST sends the member a letter, or makes a link and shows it, once."""
    staff = staff_with(request, ACT_ON_MEMBERS)
    found = User.objects.filter(pk=member, is_active=True).first()
    if found is None:
        raise refusals.not_found()
    if not may_act_on(staff, found):
        raise PermissionDenied
    by_letter = bool(settings.EMAIL_HOST and found.email)
    typed, refusal, link, is_sent = HelpForm(), None, "", False
    if request.method == "POST":
        typed = HelpForm.read(parsing.body_of(request))
        try:
            check_reason(typed.reason, typed.text)
            if by_letter:
                _send_letter(request, staff, found, typed)
                is_sent = True
            else:
                link = request.build_absolute_uri(
                    reverse("one_time_link", args=[make_link(staff, found, typed)])
                )
        except Refusal as refused:
            refusal = refused
    context = {
        **admin.site.each_context(request),
        "title": _("Help to sign in"),
        "member": found,
        "by_letter": by_letter,
        "is_sent": is_sent,
        "link": link,
        "minutes": LINK_MINUTES,
        "reasons": GrantReason.choices,
        "typed": typed,
        "refusal": refusal,
        "text_max": TYPED_MAX,
    }
    status = refusal.status if refusal else 200
    return render(request, "admin/moderation/sign_in_help.html", context, status=status)


def _send_letter(request: HttpRequest, staff: User, member: User, typed: HelpForm) -> None:
    # Stored before it is sent: a letter without a row must not be.
    record_act("member.reset_link", staff, member, reason=typed.reason, text=typed.text)
    form = ResetPasswordForm({"email": member.email})
    if not form.is_valid():
        raise refusals.unprocessable("email", _("No letter can be sent to this address."))
    form.save(request)


@transaction.atomic
def make_link(staff: User, member: User, typed: HelpForm) -> str:
    """Store a link for the member, and return its token. Links made before no longer work."""
    now, token = timezone.now(), secrets.token_urlsafe(TOKEN_BYTES)
    OneTimeLink.objects.filter(member=member, used_at=None).delete()
    OneTimeLink.objects.create(
        member=member, digest=_digest(token), made_at=now, expires_at=now + LINK_LENGTH
    )
    record_act("member.one_time_link", staff, member, reason=typed.reason, text=typed.text)
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@never_cache
@login_not_required
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def one_time_link(request: HttpRequest, token: str) -> HttpResponse:
    """Show the form that sets a new password; a POST sets it, ends all other sign-ins, and signs in."""
    link = OneTimeLink.objects.filter(
        digest=_digest(token), used_at=None, expires_at__gt=timezone.now(), member__is_active=True
    ).first()
    if link is None:
        return render(request, "account/password_reset_from_key.html", {"token_fail": True}, status=404)
    member: Any = link.member
    form = SetPasswordForm(data=request.POST or None, user=member)
    if request.method != "POST" or not form.is_valid():
        status = 422 if form.errors else 200
        return render(request, "account/password_reset_from_key.html", {"form": form}, status=status)
    with transaction.atomic():
        # Guarded: of two that use it at the same time, one sets the password.
        used = OneTimeLink.objects.filter(pk=link.pk, used_at=None).update(used_at=timezone.now())
        if used:
            form.save()
            record_act("member.link_used", None, member)
    if not used:
        return render(request, "account/password_reset_from_key.html", {"token_fail": True}, status=404)
    response: HttpResponse = perform_login(request, Login(user=member))
    return response
