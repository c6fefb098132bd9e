"""Who executes the runs of a terminal: a living process of the installation, or else this one."""

import asyncio
import uuid
from typing import IO

from django.conf import settings

from chat import doorbell
from chat.database import run_db
from chat.runs import exclusive, processes
from chat.runs.supervisor import PENDING_REQUESTS, supervisor


class Host:
    """``open`` before the first question, ``close`` in the end."""

    def __init__(self) -> None:
        self.executes_here = False
        self._lock: IO[str] | None = None
        self._relay: asyncio.Task[None] | None = None
        self._alone_since: float | None = None

    async def open(self) -> None:
        """Raises what the database raises, and OSError where the lock cannot be written."""
        if settings.ON_SQLITE or not await run_db(processes.living().exists):
            await self._execute_here()
        if not self.executes_here:
            self._relay = asyncio.create_task(doorbell.relay())

    async def see_to(self, run_id: uuid.UUID) -> None:
        """See that somebody executes the run. Called when it was asked, and in its silences."""
        if self.executes_here:
            supervisor.launch(run_id)
        elif await run_db(processes.assign, run_id):
            self._alone_since = None
            await doorbell.ring([PENDING_REQUESTS])
        elif self._alone_for(settings.QUEUED_MAX_SECONDS):
            await self._execute_here()

    def _alone_for(self, seconds: float) -> bool:
        """Whether nobody was there for so long: a server that restarts must find its place free."""
        now = asyncio.get_running_loop().time()
        if self._alone_since is None:
            self._alone_since = now
        return now - self._alone_since >= seconds

    async def _execute_here(self) -> None:
        """This process takes runs from here on, and takes up what dead ones left."""
        try:
            self._lock = exclusive.acquire_lock(exclusive.HELD_BY_TERMINAL)
        except exclusive.LockHeld:
            return  # a process that holds the file, and is not ready yet or not awake
        try:
            await supervisor.start()
        except BaseException:
            self._let_go()
            raise
        self.executes_here = True
        if self._relay is not None:
            self._relay.cancel()  # the supervisor has its own

    async def stop(self, run_id: uuid.UUID) -> None:
        """Announce that a stop of this run was requested."""
        await supervisor.announce_stop(run_id)

    async def close(self, *, at_once: bool) -> None:
        """Let what is executed here come to its end, or hand it over ``at_once``."""
        if self._relay is not None:
            self._relay.cancel()
        if self.executes_here:
            if at_once:
                supervisor.hand_over()
            await supervisor.drain()
            await supervisor.stop()
            self._let_go()

    async def hand_over(self) -> None:
        """Wait no longer for what is executed here: another process, or the next one, goes on."""
        supervisor.hand_over()

    def _let_go(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
