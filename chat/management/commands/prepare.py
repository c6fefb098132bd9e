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
from redis import Redis, RedisError


class Command(BaseCommand):
    help = "Migrates the database and collects static files, each where something changed."
    # ``serve`` makes them; they import the agents, which takes a second.
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        # One connection needs no pool, which would try for 10 s and log each time.
        connection.settings_dict["OPTIONS"].pop("pool", None)
        try:
            self._migrate()
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used: {' '.join(str(error).split())}") from error
        _reach_redis()
        try:
            self._collect()
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be written: {error.strerror}.") from error

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
        stamp.unlink(missing_ok=True)
        call_command("collectstatic", interactive=False, clear=True, verbosity=0)
        stamp.write_text(print_of_sources)  # last: an interrupted collection is done again
        self.stdout.write("The static files are collected.")


def _reach_redis() -> None:
    """A Redis that goes away later is done without; one that was never there is a wrong setting."""
    if not settings.REDIS_URL:
        return
    try:
        with Redis.from_url(settings.REDIS_URL, socket_connect_timeout=5, socket_timeout=5) as redis:
            redis.ping()
    except (RedisError, OSError, ValueError) as error:
        raise CommandError(f"REDIS_URL: Redis cannot be used: {error}") from error


def _fingerprint() -> str:
    """Of what static files are made from: the names, sizes and times of all sources, and how."""
    digest = hashlib.sha256(repr(settings.STORAGES["staticfiles"]).encode())
    digest.update((settings.BASE_DIR / "config" / "static.py").read_bytes())
    for finder in get_finders():
        for name, storage in finder.list([]):
            status = Path(storage.path(name)).stat()
            digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
