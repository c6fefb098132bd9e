"""The processes that execute runs: which of them live, and what is wished of one."""

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

KEPT = timedelta(days=1)  # how long the row of a process that died stays


@transaction.atomic
def register_process() -> uuid.UUID:
    """This process takes runs from here on. Returns its id."""
    if settings.ON_SQLITE:
        # This process holds the lock of the file: whoever stands here is dead.
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
    """Say that the process lives; 0 where its row is gone."""
    Process.objects.filter(heartbeat_at__lt=Now() - KEPT).delete()
    return Process.objects.filter(pk=process_id).update(heartbeat_at=Now())


def living() -> QuerySet[Process]:
    """Those that take runs: alive by the database's clock, and not about to end."""
    since = Now() - timedelta(seconds=settings.DEAD_AFTER_SECONDS)
    return Process.objects.filter(heartbeat_at__gte=since, draining=False)


@transaction.atomic
def assign(run_id: uuid.UUID) -> bool:
    """Name a living process that should claim this run, where it is queued. False where none lives.

    The process sees it when it looks for ``wishes``. Whoever claims the run first has it all the same,
    and one that was offered to a process that then died is taken up as any other that is left queued.
    """
    # Locked, so that its row cannot go before ours names it.
    process = living().select_for_update(no_key=True).order_by("?").first()
    if process is None:
        return False
    Run.objects.filter(pk=run_id, status=Run.Status.QUEUED).update(process=process)
    return True


def pending_requests(process_id: uuid.UUID, executed: Sequence[uuid.UUID]) -> list[tuple[uuid.UUID, str]]:
    """What others want of this process: the queued runs offered to it, and those of its own, the
    ``executed`` ones included, that are to stop; each with its status.
    """
    # ended_at names the index; a process that lost its row still knows what it executes.
    own = Run.objects.active().filter(Q(process=process_id) | Q(pk__in=executed), ended_at=None)
    wished = own.filter(Q(status=Run.Status.QUEUED) | Q(stop_requested_at__isnull=False))
    return list(wished.values_list("pk", "status"))
