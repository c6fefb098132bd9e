"""Permissions of staff, and whom they may act on."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from accounts.models import User

READ_TEXT = "moderation.read_text"
BREAK_GLASS = "moderation.break_glass"
ACT_ON_MEMBERS = "moderation.act_on_members"
SEARCH_TEXT = "moderation.search_text"
EXPORT_DATA = "moderation.export"
VIEW_AUDIT = "moderation.view_audit"


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
