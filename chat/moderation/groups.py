"""The groups of staff, each with its permissions."""

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission

from chat.models import PersonRequest

TRIAGE, MODERATOR, SENIOR, AUDITOR = "Triage", "Moderator", "Senior moderator", "Auditor"
FORMER_MODERATORS = "Moderators"  # until version 0.1; renamed after a migration

_LISTS = ["accounts.view_user", "chat.view_conversation", "chat.view_run", "chat.view_process"]
_TRIAGE = ["chat.view_conversation", "moderation.view_queue"]
_MODERATOR = [
    *_LISTS,
    *(f"moderation.{name}" for name in ("view_queue", "read_text", "break_glass", "act_on_content",
                                        "act_on_members", "watch_live")),
]  # fmt: skip
GROUPS = {
    TRIAGE: _TRIAGE,
    MODERATOR: _MODERATOR,
    SENIOR: [*_MODERATOR, *(f"moderation.{name}" for name in ("search_text", "manage_rules"))],
    AUDITOR: ["moderation.view_audit", "moderation.export"],
}


def make_groups(**kwargs: Any) -> None:
    """Create the groups after a migration, those that do not exist.

    An existing group stays as it is: permissions that the site's owner removed are not restored.
    """
    for app in ("accounts", "chat", "moderation"):
        # Django creates permissions in the same signal, perhaps later.
        create_permissions(apps.get_app_config(app), verbosity=0)
    _rename_moderators()
    for name, permissions in GROUPS.items():
        group, is_new = Group.objects.get_or_create(name=name)
        if is_new:
            group.permissions.set(permissions_named(permissions))


def _rename_moderators() -> None:
    """Make the group of earlier versions the new one, with its people."""
    former = Group.objects.filter(name=FORMER_MODERATORS).first()
    if former is None or Group.objects.filter(name=MODERATOR).exists():
        return
    former.name = MODERATOR
    former.save()
    # The owner of the site may have taken away that they read conversations.
    if former.permissions.filter(codename="view_conversation").exists():
        former.permissions.add(*permissions_named(GROUPS[MODERATOR]))
    # Requests that wait for the group name it.
    PersonRequest.objects.filter(approvers=FORMER_MODERATORS).update(approvers=MODERATOR)


def permissions_named(names: Iterable[str]) -> list[Permission]:
    """Return the permissions with these names, such as ``chat.view_run``."""
    found = Permission.objects.select_related("content_type")
    wanted = set(names)
    return [each for each in found if f"{each.content_type.app_label}.{each.codename}" in wanted]
