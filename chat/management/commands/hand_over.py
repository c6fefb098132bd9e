"""Command ``hand_over``: make another member the site's owner."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.owner import change_owner
from chat import hooks
from chat.models import AccountDeletion


class Command(BaseCommand):
    help = "Makes an active member the site's owner. The former owner stays a member of staff."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="user name of the new owner")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        with transaction.atomic():
            try:
                user = User.objects.get_by_natural_key(username)
            except User.DoesNotExist as error:
                raise CommandError(_("There is no user %(name)s.") % {"name": username}) from error
            name = {"name": user.username}
            if user.is_superuser:
                raise CommandError(_("%(name)s is the owner already.") % name)
            if not user.is_active:
                raise CommandError(_("The account %(name)s is not active.") % name)
            if AccountDeletion.objects.filter(user=user).exists():
                raise CommandError(_("The account %(name)s is about to be deleted.") % name)
            former = change_owner(user)
            for told in hooks.owner_changed:
                told(former, user)
        self.stdout.write(_("%(name)s owns this site now, and is staff.") % name)
        if former:
            self.stdout.write(_("%(name)s no longer owns it, and stays staff.") % {"name": former.username})
