"""The erasure of accounts as a duty of the servers: one of them at a time."""

import asyncio
import logging

from accounts.models import User
from chat import erasure
from chat.database import AWAY, run_db

log = logging.getLogger(__name__)

ERASE_SECONDS = 60.0


async def erase_regularly() -> None:
    """Erase the accounts that are due, looking each minute, for as long as this process serves."""
    while True:
        await asyncio.sleep(ERASE_SECONDS)
        try:
            while user := await run_db(erasure.claim_erasure):
                await _erase(user)
            await run_db(erasure.clean_file)
        except AWAY as error:
            log.warning("The erasure waits for the database: %s", error)


async def _erase(user: User) -> None:
    steps = erasure.erase(user)
    while (pause := await run_db(next, steps, None)) is not None:  # noqa: ASYNC110  (not a wait)
        await asyncio.sleep(pause)
