"""Queries for runs that no process executes: queued for too long, or left by a dead process."""

import uuid
from datetime import timedelta

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from chat import events
from chat.endings import End
from chat.models import Run
from chat.runs.execution import LOST


def left_in_queue(*, everything: bool) -> list[uuid.UUID]:
    """Return the runs that were queued for QUEUED_MAX_SECONDS, or all queued runs if ``everything``."""
    queued = Run.objects.filter(status=Run.Status.QUEUED)
    if not everything:
        queued = queued.filter(created_at__lt=Now() - timedelta(seconds=settings.QUEUED_MAX_SECONDS))
    return list(queued.values_list("pk", flat=True))


def orphans(process_id: uuid.UUID | None) -> list[tuple[uuid.UUID, int]]:
    """Return the id and epoch of running runs whose process is dead, deleted, or ``process_id`` itself.

    The caller skips runs that this process executes; its other runs were abandoned after an error.
    """
    dead = (
        Q(process=None)
        | Q(process=process_id)
        | Q(process__heartbeat_at__lt=Now() - timedelta(seconds=settings.DEAD_AFTER_SECONDS))
    )
    return list(Run.objects.filter(dead, status=Run.Status.RUNNING).values_list("pk", "epoch"))


def end_of_orphan(run: Run) -> End | None:
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
