"""Declarations of personal data: what moderation stores about members, and about staff."""

from collections.abc import Iterator

from django.utils import timezone

from accounts.models import User
from chat.moderation.member_pages import ACTS
from chat.moderation.models import (
    AccessGrant,
    Appeal,
    AuditEvent,
    AuditHead,
    AuditText,
    Consent,
    Decision,
    HiddenMessage,
    HiddenRun,
    HiddenTitle,
    OneTimeLink,
    Policy,
    Report,
    ReviewItem,
    ReviewNote,
    SealedConversation,
)
from chat.personal_data import Export, Rows, declare, keep, set_null


def _acts_on(user: User) -> Iterator[Rows]:
    """Yield the rows of the audit that the member reads under "Staff access"."""
    yield AuditEvent.objects.filter(
        member=user.audit_id, action__in=ACTS, told_from__lte=timezone.now()
    ).order_by("pk")


def declare_all() -> None:
    """Declare each model of this app."""
    declare(
        AuditEvent,
        _acts_on,
        export=Export("staff_access", "at action reason object_type object_id"),
        erase=keep("It names the member by a random id only, which leaves with the account's row."),
    )
    declare(AuditText, "about", reason="It is a note of staff.")
    declare(AuditText, "author", reason="It is a note of staff, for the auditor.")
    declare(AuditHead, reason="It is the end of the audit.")
    declare(Policy, reason="It is the site owner's.")
    declare(
        Consent,
        "conversation__owner",
        export=Export("consents", "conversation given_at expires_at revoked_at"),
    )
    declare(AccessGrant, "conversation__owner", reason="It is of staff; the looks by it are exported.")
    declare(AccessGrant, "staff", reason="It names a conversation of another member.")
    declare(SealedConversation, "conversation__owner", reason="It is a mark of the upgrade.")
    declare(OneTimeLink, "member", reason="It is a secret; that it was made is exported.")
    declare(
        Report,
        "member",
        export=Export("your_reports", "id item__message source reason note reported_at"),
    )
    declare(Report, "item__member", reason="It is the member's own report, or the model's.")
    declare(
        Decision,
        "member",
        export=Export(
            "decisions",
            "id kind conversation message run reason words decided_at until ended_at acknowledged_at",
        ),
    )
    declare(Decision, "decided_by", reason=_ABOUT_ANOTHER, erase=set_null("decided_by"))
    declare(
        Appeal,
        "decision__member",
        export=Export("your_appeals", "id decision text appealed_at outcome words decided_at"),
    )
    declare(Appeal, "decided_by", reason=_ABOUT_ANOTHER, erase=set_null("decided_by"))
    declare(ReviewItem, "member", reason="It is the place of the reports and appeals in the queue of staff.")
    declare(ReviewItem, "claimed_by", reason=_ABOUT_ANOTHER, erase=set_null("claimed_by"))
    declare(ReviewItem, "decided_by", reason=_ABOUT_ANOTHER, erase=set_null("decided_by"))
    declare(ReviewNote, "item__member", reason="It is a note of staff.")
    declare(ReviewNote, "author", reason=_ABOUT_ANOTHER, erase=set_null("author"))
    declare(HiddenMessage, "conversation__owner", reason="It is the text of a message that is hidden.")
    declare(HiddenRun, "conversation__owner", reason="It is a hidden message, as the agent read it.")
    declare(HiddenTitle, "conversation__owner", reason="It may quote a message that is hidden.")


_ABOUT_ANOTHER = "It is about another member."
