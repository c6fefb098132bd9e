"""``manage.py verify_audit``: check the chain of the audit."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.moderation import audit


class Command(BaseCommand):
    help = "Check that no row of the audit was changed, and that none is missing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--head",
            nargs="?",
            default="",
            const="",
            metavar="SEQ:HASH",
            help="a head that a server has logged; proves that no row up to it was cut off",
        )

    def handle(self, *args: Any, head: str, **options: Any) -> None:
        try:
            found = audit.verify(head)
        except audit.AuditBroken as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{found.rows} rows, head {found.head or 'none'}")
        self.stdout.write(f"{found.erased_texts} typed texts were erased")
        for fault in found.faults:
            self.stdout.write(fault)
        if found.faults:
            raise CommandError("The audit is not whole.")
        self.stdout.write("The audit is whole.")
