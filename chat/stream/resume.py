"""Position from which a request reads a run, and the rest of a run whose log was pruned.

Nothing prunes logs yet; readers are ready for it.
"""

import re
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from django.http import HttpRequest
from django.utils.translation import gettext as _

from accounts.models import User
from chat import endings, events, refusals
from chat.access import CANONICAL, access_run
from chat.begin import first_row
from chat.events import Row
from chat.log import last_seq
from chat.models import Run

LAST_EVENT_ID = re.compile(rf"(?P<run>{CANONICAL.pattern}):(?P<seq>[0-9]{{1,10}})", re.ASCII)
SEQ = re.compile(r"[0-9]{1,10}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Position:
    """Position of a reader in a run: after event ``after``."""

    run: Run
    after: int = 0
    rows: list[Row] | None = None  # the whole run, if its log was pruned

    @property
    def lacks_only_done_frame(self) -> bool:
        """Whether the reader has the terminal event, but not ``[DONE]``."""
        return not self.run.is_active and self.after == self.run.last_seq

    @property
    def has_done_frame(self) -> bool:
        """Whether the reader has ``[DONE]``, whose seq is the one after ``last_seq``."""
        return not self.run.is_active and self.after > self.run.last_seq


def last_event_id(request: HttpRequest) -> str:
    """Return the header, empty if it is absent."""
    return request.headers.get("Last-Event-ID", "").strip(" ")


def parse_event_id(value: str) -> tuple[uuid.UUID, int] | None:
    """Return the run and the seq of an event's id, None if it is malformed."""
    found = LAST_EVENT_ID.fullmatch(value)
    return (uuid.UUID(found["run"]), int(found["seq"])) if found else None


def wants_html(request: HttpRequest) -> bool:
    """Return whether ``?view=html`` asks for rendered text. Raises the 400 refusal for any other view."""
    views = request.GET.getlist("view")
    if views not in ([], ["html"]):
        raise refusals.malformed(_("view can only be html."))
    return bool(views)


def followed_position(run: Run, request: HttpRequest) -> Position:
    """Return the position from which a request follows ``run``. Call it on a thread.

    Last-Event-ID wins over ``?after=``. Returns the start of the run if the id is malformed, names another
    run, or is ahead of the log.
    """
    header = last_event_id(request)
    after = request.GET.get("after", "")
    if header:
        named = parse_event_id(header)
        seq = named[1] if named and named[0] == run.pk else 0
    else:
        seq = int(after) if SEQ.fullmatch(after) else 0
    return _position(run, seq) or Position(run)


def resumed_position(member: User, request: HttpRequest) -> Position | None:
    """Return the position after Last-Event-ID, None without this header. Call it on a thread.

    Raises the 404 refusal for a run that is not the member's, and the 400 one for an id that is malformed or
    ahead of an active run's log.
    """
    header = last_event_id(request)
    if not header:
        return None
    named = parse_event_id(header)
    if named is None:
        raise refusals.malformed(_("Last-Event-ID is not the id of an event."))
    found = _position(access_run(member, named[0]), named[1])
    if found is None:
        raise refusals.malformed(_("Last-Event-ID is ahead of the run."))
    return found


def _position(run: Run, seq: int) -> Position | None:
    """Return the position after ``seq``, None if it is ahead of the log."""
    if not run.is_active and seq >= run.last_seq:
        return Position(run, after=seq)
    last = last_seq(run.pk)
    # Pruned: the log is empty, and the rows are made from the reply. They have only the seqs 1, last_seq - 1
    # and last_seq, so a reader that has less starts again.
    if not run.is_active and last == 0:
        return Position(run, after=seq if seq >= run.last_seq - 1 else 0, rows=_rows_of_pruned(run))
    return None if seq > last else Position(run, after=seq)


async def replay(rows: list[Row], after: int) -> AsyncGenerator[list[Row], None]:
    """Yield the rows after ``after`` in one batch, as ``follow`` does."""
    yield [row for row in rows if row.seq > after]


def _rows_of_pruned(run: Run) -> list[Row]:
    """Return the run's start (seq 1), its whole text if it has one, and its end (the last two seqs)."""
    text = run.reply.text if run.reply and not run.reply.hidden_at else ""
    said = [Row.of(run.last_seq - 1, events.text(text))] if text else []
    return [first_row(run), *said, Row.of(run.last_seq, endings.terminal_event(run))]
