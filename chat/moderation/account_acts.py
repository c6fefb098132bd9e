"""Acts on the accounts of members: each is a row of the audit, of which the member reads."""

from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.models import User
from accounts.sessions import session_ended
from chat.moderation import audit


@transaction.atomic
def record_act(action: str, actor: User | None, member: User, *, reason: str = "", text: str = "") -> None:
    """Store a row about the member's account, and show the member that there is one."""
    now = timezone.now()
    audit.record(
        action,
        actor=actor,
        member=member,
        text=text,
        object_type="user",
        object_id=member.audit_id,
        reason=reason,
        told_from=now,
    )
    if actor is None or actor.pk != member.pk:
        User.objects.filter(pk=member.pk).update(staff_acted_at=now)


def record_terminal(member: User) -> None:
    """Store that the operator has opened a terminal as the member."""
    record_act("terminal.open", None, member)


def record_owner(former: User | None, owner: User) -> None:
    """Store that the operator has handed the site over."""
    for user in (former, owner):
        if user:
            record_act("member.change", None, user, reason="is_superuser")


def record_erasure(user: User) -> None:
    """Store that the account is erased, in the transaction that deletes it."""
    audit.record("member.erase", actor=None, member=user, object_type="user", object_id=user.audit_id)


def end_sign_ins(user: User) -> None:
    """End all sessions of the account, with their streams and sockets, for good: reactivated, it has none."""
    epoch = Coalesce(F("sign_in_epoch"), Value(0)) + 1
    User.objects.filter(pk=user.pk).update(sign_in_epoch=epoch)
    transaction.on_commit(lambda: session_ended.send(User))
