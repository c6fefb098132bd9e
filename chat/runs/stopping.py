"""Stopping a run and waiting for its end."""

import asyncio
import uuid

from django.conf import settings

from chat.instruments import logs
from chat.models import Run
from chat.runs.follow import follow
from chat.runs.supervisor import supervisor

STOP_SECONDS = 5  # how long a stop waits for the run's end


async def stop_and_wait(run: Run) -> None:
    """Ring for a stop that was requested. Return when the run has ended, or after STOP_SECONDS."""
    logs.set_request_run(run.pk)
    await supervisor.ring_for_stop(run.pk)
    if run.is_active:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await wait_for_end(run.pk)
        except TimeoutError:
            pass  # the caller reads its status: still running


async def wait_for_end(run_id: uuid.UUID) -> None:
    """Return when the run has ended. Its terminal event must be stored or still to come."""
    async for _batch in follow(run_id, 0, idle=settings.RUN_SECONDS):
        pass
