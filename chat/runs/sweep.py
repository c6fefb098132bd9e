"""The sweep for what no process executes: runs queued for too long or left by a dead process, and queues."""

import json
import logging
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import able_to_ask
from chat import actions, doorbell, events, lifecycle, queue
from chat.agent.memory.payload import has_calls
from chat.database import run_db
from chat.endings import INTERRUPTED, End
from chat.files.models import Artifact
from chat.models import Run
from chat.runs.execution import (
    LOST,
    Abort,
    deliver_rows,
    end_from_log,
    execute_run,
    prepare_run,
    stored_outcome,
)
from chat.runs.pending import stop_bell_names

if TYPE_CHECKING:
    from chat.runs.supervisor import Supervisor

log = logging.getLogger(__name__)


async def sweep(supervisor: "Supervisor") -> None:
    """Launch the runs that were queued for too long, take over orphans, and let queues go on.

    Stop the runs of deactivated and suspended accounts.
    """
    for stopped in await run_db(_of_suspended):
        await run_db(actions.request_stop, stopped)
        await doorbell.ring(stop_bell_names(stopped.pk))
    for run_id in await run_db(_left_in_queue):
        supervisor.launch(run_id)
    for run_id, epoch in await run_db(_orphans, supervisor.id):
        if not supervisor.executes(run_id):
            await _take_over(supervisor, run_id, epoch)
    for conversation in await run_db(queue.queues_to_continue):
        if (run := await run_db(queue.continue_queue, conversation, supervisor.id)) is not None:
            supervisor.launch(run.pk)


def _of_suspended() -> list[Run]:
    return list(Run.objects.active().filter(~able_to_ask("owner__"), stop_requested_at=None))


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
    is_new = end is None and await run_db(_has_not_begun, run)

    async def end_or_restart(abort: Abort) -> None:
        if end is not None:
            deliver_rows(claim, await end_from_log(claim, run, end))
            return
        if not is_new:
            shown = await run_db(stored_outcome, run, LOST)
            rows = await run_db(lifecycle.restart, claim, *shown)
            if rows is None:
                return
            deliver_rows(claim, rows)
            run.attempt += 1
        await execute_run(await run_db(prepare_run, claim, run), supervisor.journal, abort)

    what = "ended" if end else "begun" if is_new else "restarted"
    log.warning("Run %s is to be %s: no process executed it", run_id, what)
    supervisor.spawn_run(run_id, end_or_restart)


def _has_not_begun(run: Run) -> bool:
    """Return whether its process was lost before the agent started: then it is still the first attempt."""
    has_shown = run.events.filter(seq__gt=1).exists() or run.session_events.exists()
    # A callback may have saved an artifact before the first event.
    return not has_shown and not Artifact.objects.filter(run=run).exists()


def _end_of_orphan(run: Run) -> End | None:
    """Return how a run that no process executes ends, or None if it restarts."""
    if run.stop_requested_at:
        return End(events.STOPPED)
    if run.mode == Run.Mode.LIVE:  # nobody listens any more
        return End(events.STOPPED, INTERRUPTED)
    # A call's ADK event is committed before its tool starts, and before the call is shown. An approved call
    # is shown before that, and ``started_at`` is committed before its tool starts.
    answers = list(run.answered.all())
    if any(request.started_at for request in answers):
        return LOST
    if run.attempt > 1:
        return End(events.FAILED, "crashed")
    shown = run.events.filter(type=events.TOOL_CALLED).values_list("data", flat=True)
    payloads = run.session_events.values_list("payload", flat=True)
    approved = {request.call for request in answers}
    called = [call for data in shown if (call := json.loads(data))["id"] not in approved]
    is_shown = any(call["name"] not in events.ADK_TOOLS for call in called)
    return LOST if is_shown or has_calls(payloads) else None
