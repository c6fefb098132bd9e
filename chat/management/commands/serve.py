"""``manage.py serve``: Daphne on HOST:PORT."""

import errno
import os
import signal
import socket
import sys
from typing import IO, Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.urls import reverse

from accounts.owner import setup_token
from chat.instruments import logs
from chat.runs import exclusive

BACKLOG = 1024  # Daphne's 50 makes 500 connections at once wait seconds for SYN retries
WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104  (nothing is bound to them here)


class Command(BaseCommand):
    help = "Serves Parley on HOST:PORT until it is told to end."

    def handle(self, *args: Any, **options: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: os._exit(0))  # until the server listens to them
        logs.tell_uncaught()
        lock = self._lock()
        self._check_port()
        welcome = self._welcome()
        failure = self._serve(welcome)
        if failure:
            self.stderr.write(f"CommandError: {failure}")
        if lock:
            lock.close()
        _leave(1 if failure else 0)

    def _lock(self) -> IO[str] | None:
        try:
            return exclusive.acquire_lock(exclusive.HELD_BY_SERVER)
        except exclusive.LockHeld as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be written: {error.strerror}.") from error

    def _check_port(self) -> None:
        family = socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((settings.HOST, settings.PORT))
                probe.listen(1)
        except OSError as error:
            raise CommandError(_why_no_port(error)) from error

    def _welcome(self) -> str:
        try:
            token = setup_token()
        except DatabaseError as error:
            words = " ".join(str(error).split())
            raise CommandError(
                f"The database cannot be used: {words}. `manage.py prepare` brings it up to date."
            ) from error
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be written: {error.strerror}.") from error
        welcome = f"Parley {settings.VERSION} serves {_address()}/  (Ctrl-C ends it)\n"
        if token:
            link = _address() + reverse("set_up", args=[token])
            welcome += f"\nBegin here, once: this link makes you the site's owner.\n\n    {link}\n\n"
        return welcome

    def _serve(self, welcome: str) -> str:
        """Serve until told to end. Returns why it could not, else an empty text."""
        # First: importing daphne.server installs Twisted's asyncio reactor.
        from config.server import Server  # isort: skip

        from chat.runs.supervisor import supervisor
        from config.asgi import application

        def welcomed() -> None:
            self.stdout.write(welcome, ending="")
            self.stdout.flush()

        interface = settings.HOST.replace(":", r"\:")
        server = Server(
            application,
            endpoints=[f"tcp:port={settings.PORT}:interface={interface}:backlog={BACKLOG}"],
            server_name="parley",
            life=supervisor,
            on_ready=welcomed,
        )
        server.run()
        return server.failure


def _leave(code: int) -> NoReturn:
    """End the process without Python's teardown, which would collect tasks that Twisted's reactor
    still knows, and crash (exit code 139).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _address() -> str:
    """Where a browser finds Parley: this machine, or the name that the proxy before it has."""
    if settings.HTTPS:
        return f"https://{next(iter(settings.ALLOWED_HOSTS), settings.HOST)}"
    host = "localhost" if settings.HOST in WILDCARDS else settings.HOST
    return f"http://[{host}]:{settings.PORT}" if ":" in host else f"http://{host}:{settings.PORT}"


def _why_no_port(error: OSError) -> str:
    where = f"{settings.HOST}:{settings.PORT}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use by another program. Set PORT to a free one."
    if error.errno == errno.EACCES:
        return f"This user may not listen on {where}. Set PORT to 1024 or above."
    return f"Parley cannot listen on {where}: {error.strerror}. Set HOST to an address of this machine."
