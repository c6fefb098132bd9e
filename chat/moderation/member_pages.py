"""Pages of a member: who looked, what staff can see, and the consent to read one conversation."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import User
from chat.access import access_conversation, parse_id
from chat.http import parsing
from chat.http.fields import Fields, Flag
from chat.http.members import signed_in_user
from chat.models import Conversation
from chat.moderation import grants
from chat.moderation.models import (
    CONSENT_DAYS,
    DELAY_DAYS_MAX,
    GRANT_MINUTES,
    LINK_MINUTES,
    AccessGrant,
    AuditEvent,
    Consent,
    GrantReason,
)
from chat.moderation.policy import policy_in_force

ACTS_SHOWN = 200
# What the member reads of each action.
ACTS: dict[str, Promise] = {
    "look": _("Staff read a conversation"),
    "member.reset_link": _("Staff sent you a link to set a new password"),
    "member.one_time_link": _("Staff made a link that sets a new password for your account"),
    "member.link_used": _("The link that staff made was used to set a new password"),
    "member.change": _("Staff changed your account"),
    "terminal.open": _("An operator of this server opened a terminal as you"),
}
REASONS = {
    **dict(GrantReason.choices),
    **dict(AccessGrant.Basis.choices),
    # of member.change: the changed field
    "username": _("the user name"),
    "is_active": _("whether it is active"),
    "is_staff": _("whether it is of staff"),
    "is_superuser": _("whether it owns the site"),
    "groups": _("its groups"),
    "user_permissions": _("its permissions"),
}


@dataclass(frozen=True, slots=True)
class StaffAct:
    """One line of the page."""

    at: datetime
    sentence: Promise
    reason: str | Promise
    is_by_consent: bool
    conversation: Conversation | None  # None also if it is deleted
    object_id: str


@never_cache
@require_safe
def staff_access_page(request: HttpRequest) -> HttpResponse:
    """Show each look of staff at the member's text, and what staff did to the account, newest first."""
    member = signed_in_user(request)
    has_news = member.staff_acted_at is not None
    if has_news:
        User.objects.filter(pk=member.pk).update(staff_acted_at=None)
    given = Consent.objects.filter(
        conversation__owner=member,
        conversation__deleted_at=None,
        revoked_at=None,
        expires_at__gt=timezone.now(),
    )
    context = {
        "acts": acts_on(member),
        "has_news": has_news,
        "consents": given.select_related("conversation").order_by("expires_at"),
        "members_see_looks": policy_in_force().members_see_looks,
    }
    return render(request, "account/staff_access.html", context)


def acts_on(member: User) -> list[StaffAct]:
    """Return what the member is to read, newest first: without looks while the policy hides them."""
    told = AuditEvent.objects.filter(
        Q(told_from=None) & ~Q(action="look") | Q(told_from__lte=timezone.now()),
        member=member.audit_id,
        action__in=ACTS,
    )
    if not policy_in_force().members_see_looks:
        told = told.exclude(action="look")
    rows = list(told.order_by("-seq")[:ACTS_SHOWN])
    own = Conversation.objects.visible_to(member).in_bulk(
        {pk for row in rows if row.object_type == "conversation" and (pk := parse_id(row.object_id))}
    )
    return [
        StaffAct(
            row.at,
            ACTS[row.action],
            REASONS.get(row.reason, ""),
            row.reason == AccessGrant.Basis.CONSENT,
            own.get(uuid.UUID(row.object_id)) if row.object_type == "conversation" else None,
            row.object_id if row.object_type == "conversation" else "",
        )
        for row in rows
    ]


@never_cache
@require_safe
def rules_page(request: HttpRequest) -> HttpResponse:
    """Show what staff can see, by the rules and times in force."""
    policy = policy_in_force()
    context = {
        "policy": policy,
        "grant_minutes": GRANT_MINUTES,
        "consent_days": CONSENT_DAYS,
        "delay_days": DELAY_DAYS_MAX,
        "link_minutes": LINK_MINUTES,
        "deleted_days": f"{settings.DELETED_DAYS:g}",
        "audit_days": f"{settings.AUDIT_DAYS:g}",
        "reasons": GrantReason.labels,
    }
    return render(request, "account/staff_rules.html", context)


class ConsentForm(Fields):
    """Field of the form of a consent."""

    allow: Flag


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def consent_page(request: HttpRequest, conversation: str) -> HttpResponse:
    """Show whether support may read the conversation; a POST of its owner allows it, or ends that."""
    found = access_conversation(signed_in_user(request), conversation)
    if request.method == "POST":
        if ConsentForm.read(parsing.body_of(request)).allow:
            grants.give_consent(found)
        else:
            grants.revoke_consent(found)
        return HttpResponseRedirect(reverse("consent", args=[found.pk]), status=303)
    context = {
        "conversation": found,
        "consent": grants.consents(found).first(),
        "consent_days": CONSENT_DAYS,
        "grant_minutes": GRANT_MINUTES,
    }
    return render(request, "chat/consent.html", context)
