"""Every reader is the same reader: replay what is stored, then wait for more."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from chat import doorbell
from chat.database import run_db
from chat.events import TERMINAL, Row
from chat.log import read_log
from chat.runs import subscribers


async def follow(run_id: uuid.UUID, after: int, *, idle: float) -> AsyncGenerator[list[Row], None]:
    """The events of a run after seq ``after``, in order and without a gap, to the terminal event.

    Yields batches; an empty one after ``idle`` seconds of silence. The run's end must be in the
    log, or come: a run that ended and was pruned has nothing to follow (see chat/stream/resume.py).
    """
    with subscribers.seat_at(run_id) as seat:
        async with doorbell.listen(str(run_id)) as bell:
            relay = asyncio.ensure_future(_relay(bell, seat))
            try:
                async with aclosing(_follow(run_id, after, seat, idle)) as batches:
                    async for batch in batches:
                        yield batch
            finally:
                relay.cancel()


async def _relay(bell: asyncio.Event, seat: subscribers.Seat) -> None:
    while True:
        await bell.wait()
        bell.clear()
        seat.nudge()


async def _follow(
    run_id: uuid.UUID, after: int, seat: subscribers.Seat, idle: float
) -> AsyncGenerator[list[Row], None]:
    clock = asyncio.get_running_loop().time
    spoke = clock()
    rows = await run_db(read_log, run_id, after)
    while True:
        rows = [row for row in rows if row.seq > after]
        if rows and rows[0].seq != after + 1:  # a batch was missed: the log has it
            rows = await run_db(read_log, run_id, after)
        if rows:
            after, spoke = rows[-1].seq, clock()
            yield rows
            if rows[-1].type in TERMINAL:
                return
        rows = seat.take()
        if rows:
            continue
        patience = idle if subscribers.is_written_here(run_id) else doorbell.PATIENCE_SECONDS
        await seat.wait(max(0.001, min(patience, spoke + idle - clock())))
        rows = seat.take()
        if not rows and not subscribers.is_written_here(run_id):
            rows = await run_db(read_log, run_id, after)
        if not rows and clock() - spoke >= idle:
            spoke = clock()
            yield []
