"""The lock beside a SQLite file: one process executes its runs, a server or a chat in a terminal.

Who waits for another process must know that it is dead, and a file has no heartbeats that can be
trusted: the kernel gives this lock back however its holder ends.
"""

import fcntl
import os
from pathlib import Path
from typing import IO

from django.conf import settings
from django.utils.translation import gettext as _

SERVER = "server"
HELD_BY_TERMINAL = "terminal"


class Held(Exception):
    """Another process holds the file; its text is the sentence for the person."""


def hold(holder: str) -> IO[str] | None:
    """Take the lock, as SERVER or TERMINAL: held until it is closed or this process ends.

    None on PostgreSQL, which takes any number. Raises Held, and OSError where it cannot be written.
    """
    if not settings.ON_SQLITE:
        return None
    file = Path(f"{_database()}.lock").open("a+")  # noqa: SIM115  (kept open on purpose)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held = Held(_sentence(file))
        file.close()
        raise held from error
    file.truncate(0)
    file.write(f"{holder} {os.getpid()}\n")
    file.flush()
    return file


def _sentence(file: IO[str]) -> str:
    file.seek(0)
    holder, _space, pid = file.read(64).strip().partition(" ")
    if holder == HELD_BY_TERMINAL:
        sentence = _(
            "A chat in a terminal (process %(pid)s) is using %(file)s. End it first, or set DATA_DIR."
        )
    else:
        sentence = _("Another Parley server is using %(file)s. Stop it first, or set DATA_DIR.")
    return sentence % {"pid": pid, "file": _database()}


def _database() -> str:
    return str(settings.DATABASES["default"]["NAME"])
