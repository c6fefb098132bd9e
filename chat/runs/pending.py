"""Requests to a process, which others store: to execute a run assigned to it, or to stop one of its runs."""

import asyncio
import logging
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import Q

from chat import doorbell
from chat.database import run_db, sqlite_stamp
from chat.models import Process, Run

if TYPE_CHECKING:
    from chat.runs.supervisor import Supervisor

log = logging.getLogger(__name__)

# The interval for polling such requests without the doorbell. Without Redis, polling is the only way to find
# an assigned run, for which a user waits at a terminal.
REQUEST_SECONDS = 0.5 if settings.REDIS_URL else 0.2


def stop_bell_names(run_id: uuid.UUID) -> list[str]:
    """Return the doorbells to ring after the request to stop a run was stored.

    The second one wakes the readers of a run that ended while it was queued.
    """
    return [doorbell.PENDING_REQUESTS, str(run_id)]


@transaction.atomic
def assign(run_id: uuid.UUID) -> bool:
    """Assign this run, if it is queued, to a living process. Return False if none lives.

    The process reads it from ``pending_requests``. Any process may still claim the run first; if the
    assigned one dies, the sweep takes the run as any other that stays queued.
    """
    # The run first, as in each transaction that locks both. Then the process, so that its row is not deleted
    # before the run refers to it.
    run = Run.objects.select_for_update().filter(pk=run_id, status=Run.Status.QUEUED).only("pk").first()
    process = Process.objects.living().select_for_update(no_key=True).order_by("?").first()
    if process is None:
        return False
    if run is not None:
        Run.objects.filter(pk=run_id).update(process=process)
    return True


def pending_requests(process_id: uuid.UUID, executed: Sequence[uuid.UUID]) -> list[tuple[uuid.UUID, str]]:
    """Return the runs assigned to this process, and its runs that are to stop, each with its status.

    ``executed`` are the runs that it executes: if its row was deleted, they no longer refer to it. One that
    another process has ended, as a moderator who hides its reply does, is to stop, too.
    """
    # ended_at=None is the condition of the index chat_run_active.
    own = Run.objects.active().filter(Q(process=process_id) | Q(pk__in=executed), ended_at=None)
    requested = own.filter(Q(status=Run.Status.QUEUED) | Q(stop_requested_at__isnull=False))
    found = requested.order_by().values_list("pk", "status")
    if not executed:
        return list(found)
    ended = Run.objects.filter(pk__in=executed, ended_at__isnull=False).order_by()
    return list(found.union(ended.values_list("pk", "status"), all=True))


async def watch_requests(supervisor: "Supervisor") -> None:
    """Launch and stop runs as others request it, for as long as the process serves."""
    bell, stamp, changed = asyncio.Event(), None, False
    with doorbell.listen(doorbell.PENDING_REQUESTS, bell.set):
        while True:
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    await bell.wait()
            except TimeoutError:
                pass  # poll
            # Without Redis, another process does not ring here, but it writes the file. A new stamp causes
            # two rounds of queries: it changes just before the commit is visible.
            before, changed_before, stamp = stamp, changed, sqlite_stamp()
            changed = not settings.REDIS_URL and (stamp is None or stamp != before)
            if bell.is_set() or supervisor.runs or changed or changed_before:
                bell.clear()
                await _handle_requests(supervisor)


async def _handle_requests(supervisor: "Supervisor") -> None:
    assert supervisor.id is not None
    try:
        found = await run_db(pending_requests, supervisor.id, list(supervisor.runs))
    except (DatabaseError, InterfaceError) as error:
        log.warning("Requests wait: the database did not answer: %s", error)
        return
    for run_id, status in found:
        if status == Run.Status.QUEUED:
            supervisor.launch(run_id)
        else:
            supervisor.stop_run(run_id)
