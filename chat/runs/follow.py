"""The one function by which every reader reads a run: replay the stored events, then wait for more."""

import asyncio
import uuid
from collections.abc import AsyncGenerator

from django.conf import settings

from chat import doorbell
from chat.database import run_db
from chat.events import TERMINAL, Row
from chat.log import last_seq, read_log
from chat.runs import subscribers


async def follow(run_id: uuid.UUID, after: int, *, idle: float) -> AsyncGenerator[list[Row], None]:
    """Yield the events of a run after seq ``after``, in order and without a gap, to the terminal event.

    Yield them in batches, and an empty batch after ``idle`` seconds of silence. Precondition: the terminal
    event is stored or will be. For a run whose log was pruned, see chat/stream/resume.py.
    """
    clock = asyncio.get_running_loop().time
    last_yield = clock()
    with subscribers.subscribe(run_id) as subscription, doorbell.listen(str(run_id), subscription.nudge):
        rows = await run_db(read_log, run_id, after)
        while True:
            rows = [row for row in rows if row.seq > after]
            if rows and rows[0].seq != after + 1:  # a gap: read the missed batch from the log
                rows = await run_db(read_log, run_id, after)
            if rows:
                after, last_yield = rows[-1].seq, clock()
                yield rows
                if rows[-1].type in TERMINAL:
                    return
            rows = subscription.take()
            if rows:
                continue
            poll = idle if subscribers.is_written_here(run_id) else doorbell.LISTEN_SECONDS
            await subscription.wait(max(0.001, min(poll, last_yield + idle - clock())))
            rows = subscription.take()
            if not rows and not subscribers.is_written_here(run_id):
                rows = await run_db(read_log, run_id, after)
            if not rows and clock() - last_yield >= idle:
                last_yield = clock()
                yield []


async def wait_for_end(run_id: uuid.UUID) -> None:
    """Return when the run has ended. Its terminal event must be stored or still to come."""
    # From the newest event on, which may be the terminal one: the run can end before it is followed.
    after = await run_db(last_seq, run_id) - 1
    async for _batch in follow(run_id, after, idle=settings.RUN_SECONDS):
        pass
