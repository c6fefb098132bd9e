"""Limits of this process: open streams per member, and no new runs while the process drains."""

import logging
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing

from django.conf import settings
from django.utils.translation import gettext as _

from accounts.models import User
from chat import actions, refusals
from chat.actions import Ask, Stored
from chat.agent.agents import catalog
from chat.agent.agents.changed import changed_refusal
from chat.database import AWAY
from chat.instruments import metrics
from chat.lifecycle import Claim
from chat.models import Run
from chat.refusals import Refusal
from chat.runs.execution import prepare_run
from chat.runs.supervisor import supervisor

log = logging.getLogger(__name__)

_open_streams: Counter[int] = Counter()  # by the member's primary key


def store_ask(member: User, ask: Ask) -> Stored:
    """Store an ask of this member, and launch the run that it begins. Call it on a thread."""
    refusal = stream_refusal(member) or changed_refusal(ask.answers)
    if supervisor.draining:
        refusal = refusals.unavailable(_("This server is about to restart."))
    reservation = supervisor.reserve()
    try:
        stored = actions.send_or_queue(
            member, ask, agents=catalog.available_names(), refusal=refusal, reservation=reservation
        )
        if isinstance(stored, Run) and stored.status == Run.Status.QUEUED:
            supervisor.launch_soon(stored.pk)
        elif isinstance(stored, Run) and reservation and stored.pk == reservation.run:
            _launch(stored, is_question=not ask.answers)
        return stored
    finally:
        if reservation:
            supervisor.release(reservation)


def _launch(run: Run, *, is_question: bool) -> None:
    try:
        claimed = prepare_run(Claim(run.pk, run.epoch), run, seq=1, is_question=is_question)
        supervisor.launch_claimed(claimed)
    except AWAY as error:  # it is stored: the sweep begins it
        log.warning("Run %s waits for the database: %s", run.pk, error)


def stream_refusal(member: User) -> Refusal | None:
    """Return the 429 refusal if the member has too many open streams in this process."""
    if not settings.LIMITS or _open_streams[member.pk] < settings.STREAMS_PER_MEMBER:
        return None
    return refusals.too_many(
        _("At most %(limit)s streams can be open at the same time.") % {"limit": settings.STREAMS_PER_MEMBER}
    )


async def count_stream(member_id: int, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield ``chunks``, and count the stream as open until they end."""
    _open_streams[member_id] += 1
    try:
        with metrics.open_streams.one_more():
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
    finally:
        _open_streams[member_id] -= 1
        if not _open_streams[member_id]:
            del _open_streams[member_id]
