"""The file lock that lets only one process execute the runs of a SQLite database."""

import fcntl
import os
from pathlib import Path
from typing import IO

from django.conf import settings
from django.utils.translation import gettext as _

HELD_BY_SERVER = "server"
HELD_BY_TERMINAL = "terminal"


class LockHeld(Exception):
    """Another process holds the lock; ``str()`` is the message for the user."""


def acquire_lock(holder: str) -> IO[str] | None:
    """Lock the database as HELD_BY_SERVER or HELD_BY_TERMINAL, until the returned file is closed.

    Return None on PostgreSQL, where any number of processes may execute. Raise LockHeld, and OSError if
    the lock file cannot be written.
    """
    if not settings.ON_SQLITE:
        return None
    file = Path(f"{_database()}.lock").open("a+")  # noqa: SIM115  (kept open on purpose)
    # The kernel releases a flock however its holder ends. Heartbeats in the file would outlive a dead holder.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held = LockHeld(_message(file))
        file.close()
        raise held from error
    file.truncate(0)
    file.write(f"{holder} {os.getpid()}\n")
    file.flush()
    return file


def _message(file: IO[str]) -> str:
    file.seek(0)
    holder, _space, pid = file.read(64).strip().partition(" ")
    if holder == HELD_BY_TERMINAL:
        message = _(
            "A chat in a terminal (process %(pid)s) is using %(file)s. End it first, or set DATA_DIR."
        )
    else:
        message = _("Another Parley server is using %(file)s. Stop it first, or set DATA_DIR.")
    return message % {"pid": pid, "file": _database()}


def _database() -> str:
    return str(settings.DATABASES["default"]["NAME"])
