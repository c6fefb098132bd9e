"""The sweep for runs that no process executes: queued for too long, or left by a dead process."""

import logging
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from chat import events, lifecycle
from chat.database import run_db
from chat.endings import End
from chat.models import Run
from chat.runs.execution import LOST, Abort, deliver_rows, end_from_log, execute_run

if TYPE_CHECKING:
    from chat.runs.supervisor import Supervisor

log = logging.getLogger(__name__)


async def sweep(supervisor: "Supervisor") -> None:
    """Launch the runs that were queued for too long, and take over orphans: restart or end them."""
    for run_id in await run_db(_left_in_queue):
        supervisor.launch(run_id)
    for run_id, epoch in await run_db(_orphans, supervisor.id):
        if run_id not in supervisor.runs:
            await _take_over(supervisor, run_id, epoch)


def _left_in_queue() -> list[uuid.UUID]:
    queued = Run.objects.filter(status=Run.Status.QUEUED)
    if not settings.ON_SQLITE:  # on SQLite no other process could claim them
        queued = queued.filter(created_at__lt=Now() - timedelta(seconds=settings.QUEUED_MAX_SECONDS))
    return list(queued.values_list("pk", flat=True))


def _orphans(process_id: uuid.UUID | None) -> list[tuple[uuid.UUID, int]]:
    """Return the id and epoch of running runs whose process is dead, deleted, or ``process_id`` itself.

    The caller skips runs that this process executes; its other runs were abandoned after an error.
    """
    dead = (
        Q(process=None)
        | Q(process=process_id)
        | Q(process__heartbeat_at__lt=Now() - timedelta(seconds=settings.DEAD_AFTER_SECONDS))
    )
    return list(Run.objects.filter(dead, status=Run.Status.RUNNING).values_list("pk", "epoch"))


async def _take_over(supervisor: "Supervisor", run_id: uuid.UUID, epoch: int) -> None:
    assert supervisor.id is not None
    taken = await run_db(lifecycle.take_over, run_id, epoch, supervisor.id)
    if taken is None:
        return
    claim, run = taken
    end = await run_db(_end_of_orphan, run)

    async def end_or_restart(abort: Abort) -> None:
        if end is not None:
            deliver_rows(claim, await end_from_log(claim, run, end))
        elif (rows := await run_db(lifecycle.restart, claim)) is not None:
            deliver_rows(claim, rows)
            await execute_run(claim, run, supervisor.journal, abort)

    log.warning("Run %s is to be %s: no process executed it", run_id, "ended" if end else "restarted")
    supervisor.spawn_run(run_id, end_or_restart)


def _end_of_orphan(run: Run) -> End | None:
    """Return how a run that no process executes ends, or None if it restarts."""
    if run.stop_requested_at:
        return End(events.STOPPED)
    if run.attempt > 1:
        return End(events.FAILED, "crashed")
    # A call's ADK event is committed before its tool starts, and before the call is shown.
    payloads = run.session_events.values_list("payload", flat=True)
    if run.events.filter(type=events.TOOL_CALLED).exists() or any('"functionCall"' in p for p in payloads):
        return LOST
    return None
