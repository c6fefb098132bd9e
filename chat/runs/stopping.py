"""Stopping a run."""

import asyncio

from chat import doorbell
from chat.instruments import logs
from chat.models import Run
from chat.runs.follow import wait_for_end
from chat.runs.pending import stop_bell_names

STOP_SECONDS = 5  # how long a stop waits for the run's end


async def stop_and_wait(run: Run) -> None:
    """Ring for a stop that was requested. Return when the run has ended, or after STOP_SECONDS."""
    logs.set_request_run(run.pk)
    await doorbell.ring(stop_bell_names(run.pk))
    if run.is_active:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await wait_for_end(run.pk)
        except TimeoutError:
            pass  # the caller reads its status: still running
