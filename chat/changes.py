"""Ledger of changes: each change of a member's conversations and runs takes the member's next number.

The transaction of a change locks the member's row in the ledger until its commit. So numbers become visible
in their order: a reader that has seen one has seen all lower ones, without a clock and with any number of
processes.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from django.db import connection, transaction
from django.db.models import F

from chat import doorbell
from chat.models import Conversation, Ledger, Run

# Types of changes, with their names on the wire.
CONVERSATION = "conversation"  # created, renamed, pinned, deleted, or its branch switched
RUN_BEGUN = "run"  # stored, in QUEUED
RUN_ENDED = "run_ended"
EVERYTHING = "anew"  # read everything again: too many changes to name, or an unknown number

UNKNOWN_NUMBER = -1  # is in no ledger, so a reader that has it is told EVERYTHING

# From here on it is cheaper to read everything again. An ordinary absence has fewer changes.
CHANGES_NAMED = 200


@dataclass(frozen=True, slots=True)
class Change:
    """The name of the changed object, not its content: readers fetch that over HTTP."""

    type: str
    conversation: uuid.UUID | None = None
    run: uuid.UUID | None = None


def bell_name(owner_id: int) -> str:
    """Return the name of the doorbell that is rung after each change of this member."""
    return f"changes of {owner_id}"


def announce(owner_id: int) -> int:
    """Return the member's next number, to be stored as ``last_change`` of the changed object.

    Rings the member's doorbell after the commit. Lock the member's conversations and runs before this, or
    transactions can deadlock.
    """
    assert connection.in_atomic_block
    ledger = Ledger.objects.filter(pk=owner_id)
    if not ledger.update(last_change=F("last_change") + 1):
        Ledger.objects.bulk_create([Ledger(owner_id=owner_id)], ignore_conflicts=True)
        ledger.update(last_change=F("last_change") + 1)
    transaction.on_commit(partial(doorbell.ring_soon, [bell_name(owner_id)]))
    return ledger.values_list("last_change", flat=True).get()


def announce_conversation(conversation: Conversation) -> None:
    """Record a change of the conversation itself, at the end of the transaction that changed it."""
    Conversation.objects.filter(pk=conversation.pk).update(last_change=announce(conversation.owner_id))


def last_of(owner_ids: Iterable[int]) -> dict[int, int]:
    """Return the last number of each of these members, without members that never had a change."""
    return dict(Ledger.objects.filter(pk__in=owner_ids).values_list("owner_id", "last_change"))


def since(owner_id: int, after: int) -> tuple[int, list[Change]]:
    """Return the member's last number and the changes after ``after``, in order, one for each object.

    Returns EVERYTHING as the only change if ``after`` is not a number of this ledger, or if more than
    CHANGES_NAMED objects changed.
    """
    last = last_of([owner_id]).get(owner_id, 0)
    if last == after:
        return last, []
    if not 0 <= after < last:
        return last, [Change(EVERYTHING)]
    changed = {"owner": owner_id, "last_change__gt": after, "last_change__lte": last}
    conversations = Conversation.objects.filter(**changed).values_list("last_change", "pk")[
        : CHANGES_NAMED + 1
    ]
    found = [(number, Change(CONVERSATION, pk)) for number, pk in conversations] + _runs(changed)
    if len(found) > CHANGES_NAMED:
        return last, [Change(EVERYTHING)]
    # Stable: a new conversation and its first run have one number, and the conversation stays first.
    found.sort(key=lambda each: each[0])
    return last, [change for _number, change in found]


def _runs(changed: dict[str, int]) -> list[tuple[int, Change]]:
    found = Run.objects.filter(**changed).values_list("last_change", "status", "conversation", "pk")
    return [
        (number, Change(RUN_BEGUN if status in Run.ACTIVE else RUN_ENDED, conversation, run))
        for number, status, conversation, run in found[: CHANGES_NAMED + 1]
    ]
