"""The audit's duties of a server: its head in the log each hour, and the removal of old rows."""

import asyncio
import logging
from datetime import timedelta

from chat.database import AWAY, run_db
from chat.moderation import audit
from chat.runs.supervisor import supervisor

log = logging.getLogger(__name__)

LOOK_SECONDS = 600.0
HEAD_EVERY = timedelta(hours=1)
REMOVAL_PAUSE_SECONDS = 0.05  # between two batches, in which others write


async def keep_audit() -> None:
    """Do what is due, for as long as this process serves. One process at a time does it."""
    while True:
        try:
            if await run_db(audit.log_head, HEAD_EVERY):
                await run_db(audit.mark_old_rows)
                while await run_db(audit.remove_some):  # noqa: ASYNC110  (not a wait)
                    await asyncio.sleep(REMOVAL_PAUSE_SECONDS)
        except AWAY as error:
            log.warning("The audit's upkeep waits for the database: %s", error)
        except audit.AuditBroken as error:
            log.error("The audit cannot be continued: %s", error)  # noqa: TRY400  (no traceback is needed)
        await asyncio.sleep(LOOK_SECONDS)


supervisor.add_duty(keep_audit)
