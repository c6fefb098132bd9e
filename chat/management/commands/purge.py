"""Command ``purge``: delete for good what was deleted DELETED_DAYS ago, as servers do every ten minutes."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils.translation import gettext as _

from chat import purge
from chat.models import Message, Purge


class Command(BaseCommand):
    help = (
        "Removes conversations from the database that were deleted DELETED_DAYS ago. Servers do this every "
        "ten minutes. It can run beside them, and be interrupted and repeated at any time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count what is due")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        if dry_run:
            old = {"count": purge.too_old().count()}
            self.stdout.write(_("To be deleted, because KEEP_DAYS no longer keeps them: %(count)s.") % old)
            due = purge.due()
            messages = Message.objects.filter(conversation__in=due.values("pk")).count()
            self._write(
                _("Due: %(conversations)s conversations with %(messages)s messages."), due.count(), messages
            )
            return
        record = purge.claim_day(timedelta())
        assert record  # without a pause nobody is in the way
        while purge.delete_one_that_is_too_old():
            pass
        before = Purge.objects.get(pk=record)
        while purge.purge_some(record):
            pass
        after = Purge.objects.get(pk=record)
        self._write(
            _("Purged: %(conversations)s conversations with %(messages)s messages."),
            after.conversations - before.conversations,
            after.messages - before.messages,
        )

    def _write(self, sentence: str, conversations: int, messages: int) -> None:
        self.stdout.write(sentence % {"conversations": conversations, "messages": messages})
        days = {"days": f"{settings.DELETED_DAYS:g}"}
        self.stdout.write(_("Deleted conversations are kept for %(days)s days (DELETED_DAYS).") % days)
