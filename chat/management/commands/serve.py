"""Command ``serve``: start Daphne on HOST:PORT."""

import errno
import os
import signal
import socket
import sys
from typing import IO, Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.owner import setup_token
from chat.agent.agents import catalog
from chat.http.address import browser_address
from chat.instruments import logs
from chat.runs import exclusive

BACKLOG = 1024  # with Daphne's 50, 500 simultaneous connections wait seconds for SYN retries


class Command(BaseCommand):
    help = "Serves Parley on HOST:PORT until SIGINT or SIGTERM."

    def get_check_kwargs(self, options: Any) -> Any:
        """Add the checks that read the database, which Django runs only on demand."""
        return super().get_check_kwargs(options) | {"databases": [DEFAULT_DB_ALIAS]}

    def handle(self, *args: Any, **options: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_args: os._exit(0))  # until the server handles them
        logs.log_uncaught()
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
            raise CommandError(_cannot_write(error)) from error

    def _check_port(self) -> None:
        family = socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((settings.HOST, settings.PORT))
                probe.listen(1)
        except OSError as error:
            raise CommandError(_cannot_listen(error)) from error

    def _welcome(self) -> str:
        try:
            token = setup_token()
        except DatabaseError as error:
            raise CommandError(
                _("The database cannot be used: %(reason)s. `manage.py prepare` brings it up to date.")
                % {"reason": " ".join(str(error).split())}
            ) from error
        except OSError as error:
            raise CommandError(_cannot_write(error)) from error
        facts = {"version": settings.VERSION, "address": f"{browser_address()}/"}
        welcome = _("Parley %(version)s serves %(address)s  (Ctrl-C ends it)") % facts + "\n"
        welcome += f"{catalog.model_sentence()}\n"
        if token:
            link = browser_address() + reverse("set_up", args=[token])
            begin = _("Begin here, once: this link makes you the site's owner.")
            welcome += f"\n{begin}\n\n    {link}\n\n"
        return welcome

    def _serve(self, welcome: str) -> str:
        """Serve until a signal. Return the reason of a failure, else an empty string."""
        # First: importing daphne.server installs Twisted's asyncio reactor.
        from config.server import Server  # isort: skip

        from chat.runs.supervisor import supervisor
        from config.asgi import application

        stdout = _stdout_without_agents()

        def write_welcome() -> None:
            stdout.write(welcome)
            stdout.flush()

        interface = settings.HOST.replace(":", r"\:")
        server = Server(
            application,
            endpoints=[f"tcp:port={settings.PORT}:interface={interface}:backlog={BACKLOG}"],
            server_name="parley",
            life=supervisor,
            on_ready=write_welcome,
        )
        server.run()
        return server.failure


def _stdout_without_agents() -> IO[str]:
    """Return the process's stdout. From now on ``print``, and the processes of agents, write to stderr."""
    stdout = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding=sys.stdout.encoding)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return stdout


def _leave(code: int) -> NoReturn:
    """End the process without Python's teardown."""
    # The teardown would collect tasks that Twisted's reactor still refers to, and crash (exit code 139).
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _cannot_write(error: OSError) -> str:
    return _("%(file)s cannot be written: %(reason)s.") % {"file": error.filename, "reason": error.strerror}


def _cannot_listen(error: OSError) -> str:
    facts = {"address": f"{settings.HOST}:{settings.PORT}", "reason": error.strerror}
    if error.errno == errno.EADDRINUSE:
        return _("%(address)s is in use by another program. Set PORT to a free one.") % facts
    if error.errno == errno.EACCES:
        return _("This user may not listen on %(address)s. Set PORT to 1024 or above.") % facts
    return (
        _("Parley cannot listen on %(address)s: %(reason)s. Set HOST to an address of this machine.") % facts
    )
