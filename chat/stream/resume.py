"""From where a request follows a run, and what is left of a run whose log was pruned."""

import re
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from django.http import HttpRequest
from django.utils.translation import gettext as _

from chat import endings, events, refusals
from chat.access import CANONICAL
from chat.events import Row
from chat.models import Run

LAST_EVENT_ID = re.compile(rf"(?P<run>{CANONICAL.pattern}):(?P<seq>[0-9]{{1,10}})", re.ASCII)
SEQ = re.compile(r"[0-9]{1,10}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader goes on: after event ``after``. ``rows`` is the whole run where its log was pruned."""

    run: Run
    after: int = 0
    rows: list[Row] | None = None

    @property
    def at_end(self) -> bool:
        """Whether the reader has the terminal event, and lacks ``[DONE]``."""
        return not self.run.is_active and self.after == self.run.last_seq

    @property
    def over(self) -> bool:
        """Whether the reader has even that."""
        return not self.run.is_active and self.after > self.run.last_seq


def last_event_id(request: HttpRequest) -> str:
    """The header, empty where it is absent or empty."""
    return request.headers.get("Last-Event-ID", "").strip(" ")


def split_id(value: str) -> tuple[uuid.UUID, int] | None:
    """The run and the seq of an event's id, None where it is malformed."""
    found = LAST_EVENT_ID.fullmatch(value)
    return (uuid.UUID(found["run"]), int(found["seq"])) if found else None


def place_in(run: Run, request: HttpRequest) -> Place:
    """Where a request to follow ``run`` begins: the header wins over ``?after=``; what is malformed,
    another run's, or ahead of the log begins anew. For a thread.
    """
    header = last_event_id(request)
    after = request.GET.get("after", "")
    if header:
        named = split_id(header)
        seq = named[1] if named and named[0] == run.pk else 0
    else:
        seq = int(after) if SEQ.fullmatch(after) else 0
    return _place(run, seq, ahead=0)


def resumed_place(run: Run, seq: int) -> Place:
    """Where a resumed ask goes on. Raises the 400 refusal for an id ahead of the log. For a thread."""
    return _place(run, seq, ahead=None)


def _place(run: Run, seq: int, *, ahead: int | None) -> Place:
    if not run.is_active and seq >= run.last_seq:
        return Place(run, after=seq)
    last = run.events.order_by("-seq").values_list("seq", flat=True).first() or 0
    if not run.is_active and last == 0:
        return Place(run, after=seq if seq >= run.last_seq - 1 else 0, rows=_remains(run))
    if seq > last:
        if ahead is None:
            raise refusals.malformed(_("Last-Event-ID is ahead of the run."))
        seq = ahead
    return Place(run, after=seq)


async def at_hand(rows: list[Row], after: int) -> AsyncGenerator[list[Row], None]:
    """Those of ``rows`` after ``after``, as ``follow`` would give them."""
    yield [row for row in rows if row.seq > after]


def _remains(run: Run) -> list[Row]:
    """A pruned run: its start, its text in one event, its end, under the run's last ids."""
    rows = [Row(1, events.STARTED, events.encode_json(_started(run).data))]
    terminal = endings.terminal_event(run)
    text = run.reply.text if run.reply else ""
    if text:
        rows.append(Row(run.last_seq - 1, events.TEXT, events.encode_json({"text": text})))
    rows.append(Row(run.last_seq, terminal.type, events.encode_json(terminal.data)))
    return rows


def _started(run: Run) -> events.Event:
    return events.started(
        run=str(run.pk),
        conversation=str(run.conversation_id),
        prompt=str(run.prompt_id),
        agent=run.conversation.agent,
        title=run.conversation.title,
    )
