"""``manage.py prepare``: everything between an installed environment and a server that can start."""

import hashlib
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor


class Command(BaseCommand):
    help = "Migrates the database and collects static files, each where something changed."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._migrate()
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used: {error}") from error
        try:
            self._collect()
        except OSError as error:
            raise CommandError(f"{settings.STATIC_ROOT} cannot be written: {error.strerror}") from error

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            call_command("migrate", interactive=False, verbosity=0)
            self.stdout.write("The database is up to date.")

    def _collect(self) -> None:
        stamp = Path(settings.STATIC_ROOT).with_suffix(".stamp")
        print_of_sources = _fingerprint()
        if stamp.exists() and stamp.read_text() == print_of_sources:
            return
        call_command("collectstatic", interactive=False, clear=True, verbosity=0)
        stamp.write_text(print_of_sources)  # last: an interrupted collection is done again
        self.stdout.write("The static files are collected.")


def _fingerprint() -> str:
    """Of the names, sizes and times of all static files."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            status = Path(storage.path(name)).stat()
            digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
