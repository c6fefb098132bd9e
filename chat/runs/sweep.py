"""Runs that no process executes: queued for too long, or left by a dead process."""

import uuid
from datetime import timedelta

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from chat.models import Run
from chat.runs.execution import STOP


def left_in_queue(*, everything: bool) -> list[uuid.UUID]:
    """Queued runs that nobody claimed. On SQLite there is nobody else to wait for."""
    queued = Run.objects.filter(status=Run.Status.QUEUED)
    if not everything:
        queued = queued.filter(created_at__lt=Now() - timedelta(seconds=settings.QUEUED_MAX_SECONDS))
    return list(queued.values_list("pk", flat=True))


def orphans(process_id: uuid.UUID | None) -> list[tuple[uuid.UUID, int]]:
    """Running runs whose process is dead; and this process's own: those that it does not execute
    were given up by an error.
    """
    dead = (
        Q(process=None)
        | Q(process=process_id)
        | Q(process__heartbeat_at__lt=Now() - timedelta(seconds=settings.DEAD_AFTER_SECONDS))
    )
    return list(Run.objects.filter(dead, status=Run.Status.RUNNING).values_list("pk", "epoch"))


def end_code(run: Run) -> str | None:
    """What becomes of a dead process's run: the code it ends with, or None: it begins again."""
    if run.stop_requested_at:
        return STOP
    if run.attempt > 1:
        return "crashed"
    if run.events.filter(type="tool.called").exists() or _has_calls(run):
        return "lost"
    return None


def _has_calls(run: Run) -> bool:
    """A call is stored as an ADK event before its tool starts, and before it is shown."""
    return any('"functionCall"' in p for p in run.session_events.values_list("payload", flat=True))
