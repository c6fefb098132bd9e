"""The one door from async code to the ORM.

Django's own async ORM methods, used in work that outlives its request, leave a hidden thread and
a database connection behind for each call, and with a pool that ends in a process that can serve
nobody. Here a small executor owns its threads, and each call gives its connection back.
"""

import asyncio
import contextvars
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connections

log = logging.getLogger(__name__)

AWAY = (OperationalError, InterfaceError)  # what Django raises where the database does not answer
RETRY_SECONDS = 0.25

P = ParamSpec("P")
T = TypeVar("T")

# SQLite: one thread, so one writer a process (its busy handler is unfair: with ten writers the
# unluckiest waited 3.4 s), and its connection stays open (opening costs 0.7 ms). PostgreSQL: four
# (more give no throughput under the GIL, fewer let a slow query hold up the rest), from the pool.
_THREADS = 1 if settings.ON_SQLITE else 4
_executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="run-db")


async def run_db(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``function`` on a thread that owns a database connection; one hop a use case.

    The call goes on when the waiting task is cancelled. ``function`` owns its transaction.
    """
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()  # lines logged there name the request and the run too
    return await loop.run_in_executor(
        _executor, lambda: context.run(_call, lambda: function(*args, **kwargs))
    )


async def run_db_patiently(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As ``run_db``, tried again while the database is away: for what a run cannot go on without.

    ``function`` must bear being called again after a commit whose answer was lost.
    """
    while True:
        try:
            return await run_db(function, *args, **kwargs)
        except AWAY as error:
            log.warning("%s waits for the database: %s", getattr(function, "__name__", function), error)
            await asyncio.sleep(RETRY_SECONDS)


def _call(function: Callable[[], T]) -> T:
    if not settings.ON_SQLITE:
        close_old_connections()
    try:
        return function()
    finally:
        if not settings.ON_SQLITE:
            connections.close_all()


def sqlite_stamp() -> tuple[int, ...] | None:
    """Of the SQLite file: another one whenever any process has written to it. None on PostgreSQL.

    It costs 5 µs where a query costs a thread's hop and a millisecond. It changes a moment before a commit
    can be read, and two writes within 4 ms may share one: who sees a new mark looks twice.
    """
    if not settings.ON_SQLITE:
        return None
    name, found = settings.DATABASES["default"]["NAME"], []
    for suffix in ("", "-wal"):
        try:
            status = os.stat(f"{name}{suffix}")  # noqa: PTH116  (a Path costs more than the call)
        except FileNotFoundError:  # no other connection is open, or journal mode is DELETE
            continue
        found += [status.st_mtime_ns, status.st_size]
    return tuple(found)
