"""The ledger of what changed: each change of a member's conversations and runs takes the next number.

A number is taken in the transaction of its change, under the lock of the member's row in the ledger,
which is held until the commit. So a member's numbers become visible in their order: whoever has seen
one has seen all below it, without a clock, however many processes write.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import F

from chat import doorbell
from chat.models import Conversation, Ledger, Run

CONVERSATION = "conversation"  # made, renamed, pinned, deleted, or another branch chosen
RUN = "run"  # began
RUN_ENDED = "run_ended"
ANEW = "anew"  # too much to name

NOWHERE = -1  # no number of a ledger: a reader who does not know where it was

# More than a reader was away for in an ordinary case; then reading all anew costs less than being told.
MOST_TOLD = 200


@dataclass(frozen=True, slots=True)
class Change:
    """What changed, and never how: whoever is told reads it over HTTP."""

    type: str
    conversation: uuid.UUID | None = None
    run: uuid.UUID | None = None


def bell_of(owner_id: Any) -> str:
    """The bell that is rung when something of this member's has changed."""
    return f"changes of {owner_id}"


def announce(owner_id: Any) -> int:
    """The member's next number, for the caller to store as ``last_change`` of what it changes; the bell
    rings after the commit. Call it behind every other lock on the member's rows: two transactions that
    took them in different orders would wait for each other.
    """
    assert connection.in_atomic_block
    ledger = Ledger.objects.filter(pk=owner_id)
    if not ledger.update(last_change=F("last_change") + 1):
        Ledger.objects.bulk_create([Ledger(owner_id=owner_id)], ignore_conflicts=True)
        ledger.update(last_change=F("last_change") + 1)
    transaction.on_commit(partial(doorbell.ring_soon, [bell_of(owner_id)]))
    return ledger.values_list("last_change", flat=True).get()


def announce_conversation(conversation: Conversation) -> None:
    """The conversation itself has changed: in the transaction that changed it, and behind that."""
    Conversation.objects.filter(pk=conversation.pk).update(last_change=announce(conversation.owner_id))


def last_of(owner_ids: Iterable[Any]) -> dict[Any, int]:
    """The last number of each of these members; those to whom nothing ever happened are not in it."""
    return dict(Ledger.objects.filter(pk__in=owner_ids).values_list("owner_id", "last_change"))


def since(owner_id: Any, after: int) -> tuple[int, list[Change]]:
    """The member's last number, and what changed behind ``after`` up to it, in order: each thing once.

    One ANEW in place of all where ``after`` is no number of this ledger, or lies too far back.
    """
    last = last_of([owner_id]).get(owner_id, 0)
    if last == after:
        return last, []
    if not 0 <= after < last:
        return last, [Change(ANEW)]
    behind = {"owner": owner_id, "last_change__gt": after, "last_change__lte": last}
    found = [*_conversations(behind), *_runs(behind)]
    if len(found) > MOST_TOLD:
        return last, [Change(ANEW)]
    found.sort(key=lambda each: each[0])  # stable: a conversation comes before the run that made it
    return last, [change for _number, change in found]


def _conversations(behind: dict[str, Any]) -> list[tuple[int, Change]]:
    found = Conversation.objects.filter(**behind).values_list("last_change", "pk")[: MOST_TOLD + 1]
    return [(number, Change(CONVERSATION, conversation)) for number, conversation in found]


def _runs(behind: dict[str, Any]) -> list[tuple[int, Change]]:
    found = Run.objects.filter(**behind).values_list("last_change", "status", "conversation", "pk")
    return [
        (number, Change(RUN if status in Run.ACTIVE else RUN_ENDED, conversation, run))
        for number, status, conversation, run in found[: MOST_TOLD + 1]
    ]
