"""Execution of a terminal's runs, by a living process of the installation or else by this one."""

import asyncio
import uuid
from typing import IO

from django.conf import settings

from chat import doorbell
from chat.database import run_db
from chat.models import Process
from chat.runs import exclusive, pending
from chat.runs.supervisor import supervisor


class RunExecutor:
    """Assigns runs to a living process, or executes them. ``open`` it before the first question."""

    def __init__(self) -> None:
        self.executes_here = False
        self._lock: IO[str] | None = None
        self._relay: asyncio.Task[None] | None = None
        self._alone_since: float | None = None  # the loop's time at which no process lived

    async def open(self) -> None:
        """Execute runs here if no other process does.

        Raise what the database raises, and OSError if the lock file cannot be written.
        """
        if settings.ON_SQLITE or not await run_db(Process.objects.living().exists):
            await self._execute_here()
        if not self.executes_here:
            self._relay = asyncio.create_task(doorbell.relay())

    async def ensure_executed(self, run_id: uuid.UUID) -> None:
        """Launch the run here, or assign it to a living process; may be repeated."""
        if self.executes_here:
            supervisor.launch(run_id)
        elif await run_db(pending.assign, run_id):
            self._alone_since = None
            await doorbell.ring([doorbell.PENDING_REQUESTS])
        else:
            now = asyncio.get_running_loop().time()
            self._alone_since = self._alone_since or now
            # Not earlier: a server that restarts needs the lock of the SQLite file.
            if now - self._alone_since >= settings.QUEUED_MAX_SECONDS:
                await self._execute_here()

    async def _execute_here(self) -> None:
        """Make this process one that claims runs, including those of dead processes."""
        try:
            self._lock = exclusive.acquire_lock(exclusive.HELD_BY_TERMINAL)
        except exclusive.LockHeld:
            return  # its holder is starting, or is suspended
        try:
            await supervisor.start()
        except BaseException:
            self._release_lock()
            raise
        self.executes_here = True
        if self._relay is not None:
            self._relay.cancel()  # the supervisor has its own

    async def close(self, *, hand_over: bool) -> None:
        """Wait DRAIN_SECONDS for the runs that this process executes, or hand them over immediately."""
        if self._relay is not None:
            self._relay.cancel()
        if self.executes_here:
            if hand_over:
                supervisor.hand_over()
            await supervisor.drain()
            await supervisor.shut_down()
            self._release_lock()

    async def hand_over(self) -> None:
        """Hand the runs that this process executes over to another process, or to the next one."""
        supervisor.hand_over()

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
