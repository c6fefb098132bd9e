"""``manage.py serve``: Daphne on HOST:PORT."""

import asyncio
import errno
import fcntl
import os
import socket
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse

from accounts.owner import setup_token

BACKLOG = 1024  # Daphne's 50 makes 500 connections at once wait seconds for SYN retries


class Command(BaseCommand):
    help = "Serves Parley on HOST:PORT until it is told to end."

    def handle(self, *args: Any, **options: Any) -> None:
        lock = self._lock()
        self._check_port()
        self._welcome()
        self._serve()
        lock.close()

    def _lock(self) -> Any:
        """Held until this process ends, however it ends: one server a SQLite file."""
        file = open(settings.DATA_DIR / "server.lock", "a")  # noqa: SIM115  (kept open on purpose)
        if settings.ON_SQLITE:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise CommandError(
                    f"Another Parley server is using {settings.DATA_DIR}. Stop it first, or set DATA_DIR."
                ) from error
        return file

    def _check_port(self) -> None:
        family = socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((settings.HOST, settings.PORT))
        except OSError as error:
            raise CommandError(_why_no_port(error)) from error

    def _welcome(self) -> None:
        token = setup_token()
        self.stdout.write(f"Parley {settings.VERSION} serves {self._address()}/  (Ctrl-C ends it)")
        if token:
            link = self._address() + reverse("set_up", args=[token])
            self.stdout.write(f"\nBegin here, once: this link makes you the site's owner.\n\n    {link}\n")
        self.stdout.flush()

    def _address(self) -> str:
        host = f"[{settings.HOST}]" if ":" in settings.HOST else settings.HOST
        return f"{'https' if settings.HTTPS else 'http'}://{host}:{settings.PORT}"

    def _serve(self) -> None:
        # First: importing daphne.server installs Twisted's asyncio reactor.
        from config.server import Server  # isort: skip

        from chat.runs.supervisor import supervisor
        from config.asgi import application

        async def on_end() -> None:
            await supervisor.drain()
            await asyncio.sleep(0.2)  # the last frames leave
            await supervisor.stop()

        interface = settings.HOST.replace(":", r"\:")
        server = Server(
            application,
            endpoints=[f"tcp:port={settings.PORT}:interface={interface}:backlog={BACKLOG}"],
            server_name="parley",
            on_start=supervisor.start,
            on_end=on_end,
            on_second_signal=supervisor.hand_over,
        )
        server.run()
        if server.failure:
            raise CommandError(server.failure)
        sys.stdout.flush()
        sys.stderr.flush()
        # Python's teardown would collect tasks that Twisted's reactor still knows, and crash (rc 139).
        os._exit(0)


def _why_no_port(error: OSError) -> str:
    where = f"{settings.HOST}:{settings.PORT}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use by another program. Set PORT to a free one."
    if error.errno == errno.EACCES:
        return f"This user may not listen on {where}. Set PORT to 1024 or above."
    return f"Parley cannot listen on {where}: {error.strerror}. Set HOST to an address of this machine."
