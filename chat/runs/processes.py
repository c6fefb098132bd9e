"""The table of processes that execute runs: registration, heartbeats, and requests to a process."""

import os
import socket
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from chat.models import Process, Run

DEAD_ROW_KEPT = timedelta(days=1)  # since the last heartbeat


@transaction.atomic
def register_process() -> uuid.UUID:
    """Register this process as one that executes runs; return its id."""
    if settings.ON_SQLITE:
        # This process holds the lock of the file, so every registered process is dead.
        Process.objects.all().delete()
    process = Process.objects.create(
        host=socket.gethostname(),
        pid=os.getpid(),
        boot_id=_boot_id(),
        version=settings.VERSION,
        exclusive=True if settings.ON_SQLITE else None,
    )
    return process.pk


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def unregister(process_id: uuid.UUID) -> None:
    Process.objects.filter(pk=process_id).delete()


def mark_draining(process_id: uuid.UUID) -> None:
    Process.objects.filter(pk=process_id).update(draining=True)


def renew(process_id: uuid.UUID) -> int:
    """Store a heartbeat, and delete rows of dead processes. Return 0 if its own row is gone, else 1."""
    Process.objects.filter(heartbeat_at__lt=Now() - DEAD_ROW_KEPT).delete()
    return Process.objects.filter(pk=process_id).update(heartbeat_at=Now())


def living() -> QuerySet[Process]:
    """Return the processes that claim runs: alive by the database's clock, and not draining."""
    since = Now() - timedelta(seconds=settings.DEAD_AFTER_SECONDS)
    return Process.objects.filter(heartbeat_at__gte=since, draining=False)


@transaction.atomic
def assign(run_id: uuid.UUID) -> bool:
    """Assign this run, if it is queued, to a living process. Return False if none lives.

    The process reads it from ``pending_requests``. Any process may still claim the run first; if the
    assigned one dies, the sweep takes the run as any other that stays queued.
    """
    # Locked, so that the process's row is not deleted before the run refers to it.
    process = living().select_for_update(no_key=True).order_by("?").first()
    if process is None:
        return False
    Run.objects.filter(pk=run_id, status=Run.Status.QUEUED).update(process=process)
    return True


def pending_requests(process_id: uuid.UUID, executed: Sequence[uuid.UUID]) -> list[tuple[uuid.UUID, str]]:
    """Return the runs assigned to this process and its runs with a stop request, each with its status.

    ``executed`` are the runs that it executes: if its row was deleted, they no longer refer to it.
    """
    # ended_at=None is the condition of the index chat_run_active.
    own = Run.objects.active().filter(Q(process=process_id) | Q(pk__in=executed), ended_at=None)
    requested = own.filter(Q(status=Run.Status.QUEUED) | Q(stop_requested_at__isnull=False))
    return list(requested.values_list("pk", "status"))
