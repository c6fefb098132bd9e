"""Calls from async code to the ORM, on a small pool of threads that give their connections back.

Django's async ORM methods leave a hidden thread and a connection per call if the work outlives its request.
With a connection pool, such a process ends without a free connection.
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

AWAY = (OperationalError, InterfaceError)  # Django's errors when the database does not answer
RETRY_SECONDS = 0.25

P = ParamSpec("P")
T = TypeVar("T")

# SQLite: one thread, so one writer per process. Its busy handler is unfair: of ten writers, the last one
# waited 3.4 s. The connection stays open, because opening one costs 0.7 ms.
# PostgreSQL: four threads, with connections from the pool. More add no throughput under the GIL; with fewer,
# a slow query delays the others.
_THREADS = 1 if settings.ON_SQLITE else 4
# Threads for requests (config/handler.py), each with at most one connection. With those above they take the
# whole pool on PostgreSQL, of at least six connections.
REQUEST_THREADS = 6 if settings.ON_SQLITE else settings.DATABASE_POOL - _THREADS
_executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="run-db")


async def run_db(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``function`` on a thread with a database connection. Use one call per use case.

    The call goes on if the waiting task is cancelled. ``function`` owns its transaction.
    """
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()  # log lines name the request and the run, also on that thread
    return await loop.run_in_executor(
        _executor, lambda: context.run(_call, lambda: function(*args, **kwargs))
    )


async def run_db_patiently(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``run_db`` and retry while the database is away, for calls that a run cannot do without.

    ``function`` must be idempotent: the answer to its commit may have been lost.
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
    """Return a value that changes whenever any process writes the SQLite file; None on PostgreSQL.

    It costs 5 µs; a query costs a change of threads and 1 ms. After a change, check twice: the value changes
    just before the commit is visible, and two writes within 4 ms may share one.
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
