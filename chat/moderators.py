"""Who reviews conversations: staff in the group "Moderators", which holds what they may see."""

from typing import Any

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission

MODERATORS = "Moderators"
MAY = {
    "accounts": ["view_user"],
    "chat": ["view_conversation", "view_run", "view_process"],
}


def make_group(**kwargs: Any) -> None:
    """After each migration: the group, where there is none. What its owner then takes from it stays away."""
    for app in MAY:
        create_permissions(
            apps.get_app_config(app), verbosity=0
        )  # ours are asked for before Django makes them
    group, is_new = Group.objects.get_or_create(name=MODERATORS)
    if is_new:
        group.permissions.set(
            permission
            for app, names in MAY.items()
            for permission in Permission.objects.filter(content_type__app_label=app, codename__in=names)
        )
