"""The table of processes that execute runs: registration and heartbeats."""

import os
import socket
import uuid
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from chat.models import Process

DEAD_ROW_KEPT = timedelta(days=1)  # since the last heartbeat


@transaction.atomic
def register_process(agents: Mapping[str, Any]) -> uuid.UUID:
    """Register this process as one that executes runs; return its id.

    ``agents`` is as for ``report_agents``.
    """
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
        **agents,
    )
    return process.pk


def unregister(process_id: uuid.UUID) -> None:
    Process.objects.filter(pk=process_id).delete()


def report_agents(process_id: uuid.UUID, agents: Mapping[str, Any]) -> None:
    """Store the columns of this process that describe its agents."""
    Process.objects.filter(pk=process_id).update(**agents)


def mark_draining(process_id: uuid.UUID) -> None:
    Process.objects.filter(pk=process_id).update(draining=True)


def renew(process_id: uuid.UUID) -> int:
    """Store a heartbeat, and delete rows of dead processes. Return 0 if its own row is gone, else 1."""
    Process.objects.filter(heartbeat_at__lt=Now() - DEAD_ROW_KEPT).delete()
    return Process.objects.filter(pk=process_id).update(heartbeat_at=Now())
