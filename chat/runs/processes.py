"""The table of processes that execute runs: registration and heartbeats."""

import os
import socket
import uuid
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from chat.models import Process

DEAD_ROW_KEPT = timedelta(days=1)  # since the last heartbeat


@transaction.atomic
def register_process() -> uuid.UUID:
    """Register this process as one that executes runs; return its id."""
    if settings.ON_SQLITE:
        # This process holds the lock of the file, so every registered process is dead.
        Process.objects.all().delete()
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    process = Process.objects.create(
        host=socket.gethostname(),
        pid=os.getpid(),
        boot_id=boot_id.read_text().strip() if boot_id.exists() else "",
        version=settings.VERSION,
        exclusive=True if settings.ON_SQLITE else None,
    )
    return process.pk


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
