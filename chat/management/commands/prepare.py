"""Command ``prepare``: migrate the database and collect the static files before the server starts."""

import hashlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils.translation import gettext as _
from redis import Redis, RedisError

from chat.erasure import clean_file, has_traces
from chat.runs.exclusive import HELD_BY_SERVER, LockHeld, acquire_lock


class Command(BaseCommand):
    help = "Migrates the database and collects static files, each if something changed."
    # ``serve`` runs the checks; they import the agents, which takes a second.
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        # One connection needs no pool. It would retry for 10 s, and log each failure.
        connection.settings_dict["OPTIONS"].pop("pool", None)
        try:
            self._migrate()
            self._clean_file()
        except DatabaseError as error:
            raise CommandError(
                _("The database cannot be used: %(reason)s") % {"reason": " ".join(str(error).split())}
            ) from error
        _check_redis()
        try:
            self._collect()
        except OSError as error:
            raise CommandError(
                _("%(file)s cannot be written: %(reason)s.")
                % {"file": error.filename, "reason": error.strerror}
            ) from error

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            call_command("migrate", interactive=False, verbosity=0)
            self.stdout.write(_("The database is up to date."))

    def _clean_file(self) -> None:
        if not has_traces():
            return
        try:
            with acquire_lock(HELD_BY_SERVER) or nullcontext():
                clean_file(is_alone=True)
        except (LockHeld, OperationalError) as reason:  # another process uses it, or the disk is full
            said = _("Traces of erased accounts are removed from the database's file later: %(reason)s")
            self.stderr.write(said % {"reason": reason})

    def _collect(self) -> None:
        stamp = Path(settings.STATIC_ROOT).with_suffix(".stamp")
        fingerprint = _fingerprint()
        if stamp.exists() and stamp.read_text() == fingerprint:
            return
        stamp.unlink(missing_ok=True)
        call_command("collectstatic", interactive=False, clear=True, verbosity=0)
        stamp.write_text(fingerprint)  # last: an interrupted collection is repeated
        self.stdout.write(_("The static files are collected."))


def _check_redis() -> None:
    # A running server works without Redis. At the start, an unreachable Redis is a wrong setting.
    if not settings.REDIS_URL:
        return
    try:
        with Redis.from_url(settings.REDIS_URL, socket_connect_timeout=5, socket_timeout=5) as redis:
            redis.ping()
    except (RedisError, OSError, ValueError) as error:
        raise CommandError(_("REDIS_URL: Redis cannot be used: %(reason)s") % {"reason": error}) from error


def _fingerprint() -> str:
    """Return a hash of the names, sizes and times of all static files, and of the code that collects them."""
    digest = hashlib.sha256(repr(settings.STORAGES["staticfiles"]).encode())
    digest.update((settings.BASE_DIR / "config" / "static.py").read_bytes())
    for finder in get_finders():
        for name, storage in finder.list([]):
            status = Path(storage.path(name)).stat()
            digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
