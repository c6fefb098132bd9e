"""The processes that execute runs: registered, alive, draining."""

import os
import socket
import uuid
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from chat.models import Process

KEPT = timedelta(days=1)  # how long the row of a process that died stays


@transaction.atomic
def register() -> uuid.UUID:
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
