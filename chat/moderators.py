"""The group "Moderators", whose permissions let staff review conversations."""

from typing import Any

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission

MODERATORS = "Moderators"
PERMISSIONS = {
    "accounts": ["view_user"],
    "chat": ["view_conversation", "view_run", "view_process"],
}


def make_group(**kwargs: Any) -> None:
    """Create the group after a migration, unless it exists.

    An existing group stays as it is: permissions that the site's owner removed are not restored.
    """
    for app in PERMISSIONS:
        # Django creates permissions in the same signal, perhaps later.
        create_permissions(apps.get_app_config(app), verbosity=0)
    group, is_new = Group.objects.get_or_create(name=MODERATORS)
    if is_new:
        group.permissions.set(
            permission
            for app, names in PERMISSIONS.items()
            for permission in Permission.objects.filter(content_type__app_label=app, codename__in=names)
        )
