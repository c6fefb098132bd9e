"""The purge, and the sweep of files after it, as a duty of the servers: one of them at a time."""

import asyncio
import logging
from datetime import timedelta

from chat import purge
from chat.database import AWAY, run_db
from chat.files.sweep import sweep_step, sweep_temporary_files

log = logging.getLogger(__name__)

PURGE_SECONDS = 600.0
BATCH_PAUSE_SECONDS = 0.05  # between two batches, in which others write


async def purge_regularly() -> None:
    """Purge and sweep what is due every ten minutes, for as long as this process serves."""
    while True:
        await asyncio.sleep(PURGE_SECONDS)
        await asyncio.to_thread(sweep_temporary_files)  # each machine has its own
        try:
            if record := await run_db(purge.claim_day, timedelta(seconds=PURGE_SECONDS * 0.9)):
                while await run_db(purge.delete_one_that_is_too_old):  # noqa: ASYNC110  (not a wait)
                    await asyncio.sleep(BATCH_PAUSE_SECONDS)
                while await run_db(purge.purge_some, record):  # noqa: ASYNC110  (not a wait)
                    await asyncio.sleep(BATCH_PAUSE_SECONDS)
                while await run_db(sweep_step):  # noqa: ASYNC110  (not a wait)
                    await asyncio.sleep(BATCH_PAUSE_SECONDS)
        except AWAY as error:
            log.warning("The purge waits for the database: %s", error)
