"""Command ``files``: compare the database with the storage of files, or sweep now."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from chat.files.comparison import missing_objects, orphaned_objects
from chat.files.sweep import sweep_step, sweep_temporary_files


class Command(BaseCommand):
    help = (
        "Lists files whose bytes are missing in the storage, and objects in the storage without a row in the "
        "database. Ends with exit code 1 if there are any. It can run beside servers."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--sweep",
            action="store_true",
            help="delete what is unused, as servers do every ten minutes",
        )

    def handle(self, *args: Any, sweep: bool, **options: Any) -> None:
        if sweep:
            self._sweep()
            return
        missing = orphaned = 0
        for name in missing_objects():
            self.stdout.write(_("Missing: %(name)s") % {"name": name})
            missing += 1
        for name in orphaned_objects():
            self.stdout.write(_("Orphaned: %(name)s") % {"name": name})
            orphaned += 1
        if missing or orphaned:
            counts = {"missing": missing, "orphaned": orphaned}
            raise CommandError(_("%(missing)s missing, %(orphaned)s orphaned.") % counts)
        self.stdout.write(_("Nothing is missing or orphaned."))

    def _sweep(self) -> None:
        deleted = 0
        while number := sweep_step():
            deleted += number
        sweep_temporary_files()
        self.stdout.write(_("Deleted: %(count)s.") % {"count": deleted})
