"""Log of a run: its numbered events, appended and read back."""

import uuid
from collections.abc import Sequence

from django.db.models import Max

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
    RunEvent.objects.bulk_create(
        [RunEvent(run_id=run_id, seq=row.seq, type=row.type, data=row.data) for row in rows]
    )
    return rows


def last_seq(run_id: uuid.UUID) -> int:
    """Return the seq of the newest stored event of a run, 0 if there is none."""
    return RunEvent.objects.filter(run_id=run_id).aggregate(last=Max("seq"))["last"] or 0


def read_log(run_id: uuid.UUID, after: int = 0) -> list[Row]:
    """Return the stored events of a run after seq ``after``, in order."""
    stored = RunEvent.objects.filter(run_id=run_id, seq__gt=after).order_by("seq")
    return [Row(*values) for values in stored.values_list("seq", "type", "data")]
