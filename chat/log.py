"""Log of a run: its numbered events, appended and read back."""

import uuid
from collections.abc import Sequence

from accounts.statements import Statement, insert
from chat.events import Event, Row
from chat.models import RunEvent


def append(run_id: uuid.UUID, new: Sequence[Event], after: int | None = None) -> list[Row]:
    """Store events under the run's next numbers. The caller's transaction must hold the run's lock.

    ``after`` is the newest stored seq, if the caller knows it.
    """
    rows = [
        Row.of(seq, event)
        for seq, event in enumerate(new, (last_seq(run_id) if after is None else after) + 1)
    ]
    insert(*(RunEvent(run_id=run_id, seq=row.seq, type=row.type, data=row.data) for row in rows))
    return rows


def last_seq(run_id: uuid.UUID) -> int:
    """Return the seq of the newest stored event of a run, 0 if there is none."""
    newest = _newest.first(run_id)
    return newest[0] if newest else 0


_newest = Statement(lambda run: RunEvent.objects.filter(run_id=run).order_by("-seq").values_list("seq")[:1])


def read_log(run_id: uuid.UUID, after: int = 0) -> list[Row]:
    """Return the stored events of a run after seq ``after``, in order."""
    return [Row(*values) for values in _after.all(run_id, after)]


_after = Statement(
    lambda run, seq: (
        RunEvent.objects.filter(run_id=run, seq__gt=seq).order_by("seq").values_list("seq", "type", "data")
    )
)
