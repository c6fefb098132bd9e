"""Permissions of staff, and whom they may act on."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import User

VIEW_QUEUE = "moderation.view_queue"
READ_TEXT = "moderation.read_text"
BREAK_GLASS = "moderation.break_glass"
ACT_ON_CONTENT = "moderation.act_on_content"
ACT_ON_MEMBERS = "moderation.act_on_members"
WATCH_LIVE = "moderation.watch_live"
SEARCH_TEXT = "moderation.search_text"
EXPORT_DATA = "moderation.export"
VIEW_AUDIT = "moderation.view_audit"
MANAGE_RULES = "moderation.manage_rules"


def staff_with(request: HttpRequest, *permissions: str) -> User:
    """Return the signed-in member of the staff. Raises PermissionDenied without all ``permissions``."""
    user: Any = request.user
    if not (user.is_active and user.is_staff and user.has_perms(permissions)):
        raise PermissionDenied
    return user  # type: ignore[no-any-return]


def may_act_on(actor: User, member: User) -> bool:
    """Return whether staff may act on this account, which is never their own.

    Staff act on members, the owner on staff, and nobody on the owner.
    """
    if not actor.has_perm(ACT_ON_MEMBERS) or actor.pk == member.pk or member.is_superuser:
        return False
    return actor.is_superuser or not member.is_staff


def may_decide_about(actor: User, member: User, permission: str) -> bool:
    """Return whether staff with this permission may decide about what this member wrote, was told, or did.

    Nobody decides about themselves while somebody else can; the owner decides about staff, and nobody else
    about the owner.
    """
    if not actor.has_perm(permission):
        return False
    if actor.pk == member.pk:
        return not others_who_may_decide(member, permission).exists()
    if member.is_superuser:
        return False
    return actor.is_superuser or not member.is_staff


def others_who_may_decide(member: User, permission: str, *, without: User | None = None) -> QuerySet[User]:
    """Return the active staff, except the member and ``without``, who may decide about the member."""
    found = User.objects.with_perm(permission)
    found = found.filter(is_active=True, is_staff=True).exclude(pk=member.pk)
    if member.is_superuser:
        found = found.none()
    elif member.is_staff:
        found = found.filter(is_superuser=True)
    return found.exclude(pk=without.pk) if without else found
