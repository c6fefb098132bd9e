"""Grants: the right of staff to read one conversation for some time, or to search. Each look is recorded."""

import uuid
from datetime import timedelta

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from chat import refusals
from chat.models import Conversation
from chat.moderation import audit
from chat.moderation.duties import BREAK_GLASS, READ_TEXT, SEARCH_TEXT
from chat.moderation.models import (
    CONSENT_LENGTH,
    DELAY_DAYS_MAX,
    GRANT_LENGTH,
    AccessGrant,
    Consent,
    GrantReason,
    SealedConversation,
)
from chat.search.found import conversations_saying
from chat.text import is_visible

EXTENDABLE = timedelta(hours=1)  # for so long after its end, a grant can still be extended by one click
TYPED_MAX = 2_000  # characters of a reason
FOUND_MAX = 50  # conversations that a search shows
Basis, Scope = AccessGrant.Basis, AccessGrant.Scope


def openable() -> QuerySet[Conversation]:
    """Return the conversations that a grant may open: all but sealed ones."""
    sealed = SealedConversation.objects.filter(pk=OuterRef("pk"))
    return Conversation.objects.filter(~Exists(sealed)).select_related("owner")


def grant_of(staff: User, conversation: Conversation) -> AccessGrant | None:
    """Return the grant by which ``staff`` may read the conversation now, with the latest end."""
    return _in_force(staff, conversation).first()


def _in_force(staff: User, conversation: Conversation) -> QuerySet[AccessGrant]:
    own = AccessGrant.objects.in_force().filter(
        staff=staff, conversation=conversation, scope=Scope.CONVERSATION
    )
    if not staff.has_perm(READ_TEXT):
        return own.none()
    if not staff.has_perm(BREAK_GLASS):
        own = own.exclude(basis=Basis.BREAK_GLASS)
    if conversation.deleted_at:
        own = own.exclude(basis=Basis.CONSENT)
    return own.order_by("-expires_at")


@transaction.atomic
def record_look(request: HttpRequest, conversation: Conversation) -> bool:
    """Return whether the signed-in staff may see the conversation's text now; if so, store the look.

    The owner's own look is nobody else's business: it is not stored.
    """
    staff = request.user
    if not (isinstance(staff, User) and staff.is_active and staff.is_staff):
        return False
    if conversation.owner_id == staff.pk and conversation.deleted_at is None:
        return True
    # Locked, so that a grant that is revoked at the same time is looked at before, or not at all.
    grant = _in_force(staff, conversation).select_for_update().first()
    if grant is None or not openable().filter(pk=conversation.pk).exists():
        return False
    audit.record(
        "look",
        actor=staff,
        member=conversation.owner,
        object_type="conversation",
        object_id=conversation.pk,
        reason=grant.reason or grant.basis,
        grant=grant.pk,
        told_from=max(grant.told_from, timezone.now()),
    )
    return True


@transaction.atomic
def open_with_reason(
    staff: User, conversation: Conversation, reason: str, text: str, *, delay_days: int = 0
) -> AccessGrant:
    """Store a grant for a reason, and return it. Raises PermissionDenied and 422 refusals.

    ``delay_days`` is for how long the member is not told; then ``text`` has to say why.
    """
    if not staff.has_perms([READ_TEXT, BREAK_GLASS]):
        raise PermissionDenied
    check_reason(reason, text, needs_text=delay_days > 0)
    if not 0 <= delay_days <= DELAY_DAYS_MAX:
        raise refusals.unprocessable("delay", _("A look can be kept back for at most 30 days."))
    return _open(
        staff,
        Basis.BREAK_GLASS,
        conversation=conversation,
        reason=reason,
        text=text,
        told_from=timezone.now() + timedelta(days=delay_days),
    )


@transaction.atomic
def open_by_consent(staff: User, conversation: Conversation) -> AccessGrant:
    """Store a grant by the consent of the owner, and return it. Raises PermissionDenied without consent."""
    if not staff.has_perm(READ_TEXT):
        raise PermissionDenied
    # Locked: a consent that is revoked at the same time ends this grant, too.
    if not has_consent(conversation):
        raise PermissionDenied
    return _open(staff, Basis.CONSENT, conversation=conversation)


@transaction.atomic
def open_search(staff: User, reason: str, text: str) -> AccessGrant:
    """Store a grant to search texts, and return it. Raises PermissionDenied and 422 refusals."""
    if not staff.has_perm(SEARCH_TEXT):
        raise PermissionDenied
    check_reason(reason, text)
    return _open(staff, Basis.BREAK_GLASS, reason=reason, text=text)


def check_reason(reason: str, text: str, *, needs_text: bool = False) -> None:
    """Raise a 422 refusal without a reason, or without the words that it needs."""
    if reason not in GrantReason.values:
        raise refusals.unprocessable("reason", _("Choose a reason."))
    if (needs_text or reason == GrantReason.OTHER) and not is_visible(text):
        raise refusals.unprocessable("reason_text", _("Say why, in a few words."))
    if len(text) > TYPED_MAX:
        raise refusals.unprocessable("too_long", _("At most %(limit)s characters.") % {"limit": TYPED_MAX})


def _open(
    staff: User,
    basis: str,
    *,
    conversation: Conversation | None = None,
    reason: str = "",
    text: str = "",
    **fields: object,
) -> AccessGrant:
    now = timezone.now()
    grant = AccessGrant.objects.create(
        staff=staff,
        scope=Scope.CONVERSATION if conversation else Scope.SEARCH,
        conversation=conversation,
        basis=basis,
        reason=reason,
        opened_at=now,
        expires_at=now + GRANT_LENGTH,
        **fields,
    )
    _record("grant.open", staff, grant, text=text)
    return grant


def _record(action: str, actor: User | None, grant: AccessGrant, *, text: str = "") -> None:
    conversation = grant.conversation
    audit.record(
        action,
        actor=actor,
        member=conversation.owner if conversation else None,
        object_type="conversation" if conversation else "search",
        object_id=conversation.pk if conversation else "",
        reason=grant.reason or grant.basis,
        text=text,
        grant=grant.pk,
    )


@transaction.atomic
def extend_grant(staff: User, grant: uuid.UUID) -> AccessGrant:
    """Let a grant end 30 minutes from now, also one that ended within the last hour.

    Raises the 404 refusal for another grant, and PermissionDenied if it would not be given now.
    """
    found = _own(staff, grant)
    if found.expires_at < timezone.now() - EXTENDABLE:
        raise refusals.not_found()
    needed = SEARCH_TEXT if found.scope == Scope.SEARCH else READ_TEXT
    is_allowed = staff.has_perm(needed) and (
        found.basis == Basis.CONSENT or found.scope == Scope.SEARCH or staff.has_perm(BREAK_GLASS)
    )
    if found.basis == Basis.CONSENT and not (found.conversation and has_consent(found.conversation)):
        is_allowed = False
    if not is_allowed:
        raise PermissionDenied
    found.expires_at = timezone.now() + GRANT_LENGTH
    found.save(update_fields=["expires_at"])
    _record("grant.extend", staff, found)
    return found


@transaction.atomic
def end_grant(staff: User, grant: uuid.UUID) -> AccessGrant:
    """End a grant of one's own now, and return it. Raises the 404 refusal for another one."""
    found = _own(staff, grant)
    found.revoked_at = timezone.now()
    found.save(update_fields=["revoked_at"])
    _record("grant.end", staff, found)
    return found


def _own(staff: User, grant: uuid.UUID) -> AccessGrant:
    # That of an item is extended and ended by its claim.
    own = AccessGrant.objects.filter(pk=grant, staff=staff, revoked_at=None).exclude(scope=Scope.ITEM)
    found = own.select_related("conversation__owner").select_for_update(of=("self",)).first()
    if found is None:
        raise refusals.not_found()
    return found


def last_grant_of(staff: User, conversation: Conversation) -> AccessGrant | None:
    """Return the grant that can be extended by one click, if any."""
    own = AccessGrant.objects.filter(
        staff=staff, conversation=conversation, scope=Scope.CONVERSATION, revoked_at=None
    )
    return own.filter(expires_at__gt=timezone.now() - EXTENDABLE).order_by("-expires_at").first()


# --- the search -----------------------------------------------------------------------------------------


def search_grant_of(staff: User) -> AccessGrant | None:
    """Return the grant by which ``staff`` may search now."""
    return _search_in_force(staff).first()


def _search_in_force(staff: User) -> QuerySet[AccessGrant]:
    own = AccessGrant.objects.in_force().filter(staff=staff, scope=Scope.SEARCH)
    return own.order_by("-expires_at") if staff.has_perm(SEARCH_TEXT) else own.none()


@transaction.atomic
def search_texts(staff: User, text: str) -> list[Conversation] | None:
    """Return at most FOUND_MAX conversations that hold the words, newest first; None without a grant.

    The search is stored before: only then are its results to be shown.
    """
    grant = _search_in_force(staff).select_for_update().first()
    if grant is None:
        return None
    audit.record("search", actor=staff, object_type="search", reason=grant.reason, text=text, grant=grant.pk)
    found = Conversation.objects.reviewable().filter(pk__in=conversations_saying(text))
    return list(found.select_related("owner").order_by("-updated_at", "-id")[:FOUND_MAX])


# --- the member's consent ---------------------------------------------------------------------------------


def consents(conversation: Conversation) -> QuerySet[Consent]:
    """Return the owner's consent that is in force: one or none."""
    return Consent.objects.filter(conversation=conversation, revoked_at=None, expires_at__gt=timezone.now())


def has_consent(conversation: Conversation) -> bool:
    """Lock the owner's consent and return whether it is in force. A deletion ends it."""
    return not conversation.deleted_at and consents(conversation).select_for_update().exists()


@transaction.atomic
def give_consent(conversation: Conversation) -> Consent:
    """Store that the owner lets staff read the conversation for seven days from now."""
    # Locked, so that two requests at the same time give one.
    Conversation.objects.select_for_update().get(pk=conversation.pk)
    now = timezone.now()
    Consent.objects.filter(conversation=conversation, revoked_at=None).update(revoked_at=now)
    given = Consent.objects.create(conversation=conversation, given_at=now, expires_at=now + CONSENT_LENGTH)
    _record_consent("consent.give", conversation)
    return given


@transaction.atomic
def revoke_consent(conversation: Conversation) -> None:
    """End the owner's consent, and all grants that came from it."""
    Conversation.objects.select_for_update().get(pk=conversation.pk)
    now = timezone.now()
    if not Consent.objects.filter(conversation=conversation, revoked_at=None).update(revoked_at=now):
        return
    grants = AccessGrant.objects.in_force().filter(conversation=conversation, basis=Basis.CONSENT)
    grants.update(revoked_at=now)
    _record_consent("consent.end", conversation)


def _record_consent(action: str, conversation: Conversation) -> None:
    owner = conversation.owner
    audit.record(action, actor=owner, member=owner, object_type="conversation", object_id=conversation.pk)
