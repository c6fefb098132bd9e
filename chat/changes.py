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

from accounts.statements import Statement
from chat import doorbell
from chat.models import Conversation, Ledger, Run

# Types of changes, with their names on the wire.
CONVERSATION = "conversation"  # created, renamed, pinned, archived, deleted, or its branch switched
RUN_BEGUN = "run"  # stored, in QUEUED
RUN_ENDED = "run_ended"
WAITS = "waiting"  # requests of the conversation; without one, what waits for the member's groups
QUEUE = "queued"  # a queued ask was added, withdrawn or asked
DECISION = "decision"  # moderators decided something about the member: read the shown page again
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


def announce(owner_id: int, approvers: Iterable[int] = ()) -> int:
    """Return the member's next number, to be stored as ``last_change`` of the changed object.

    ``approvers`` are members for whose groups what waits has changed: they take a number, too. Rings the
    doorbells of all of them after the commit. Lock the member's conversations and runs before this, or
    transactions can deadlock.
    """
    assert connection.in_atomic_block
    approvers = set(approvers)
    # One after another, in one order: two transactions that lock several rows can else deadlock.
    members = sorted({owner_id, *approvers})
    numbers = {member_id: _take_number(member_id, is_waiting=member_id in approvers) for member_id in members}
    transaction.on_commit(partial(doorbell.ring_soon, [bell_name(member_id) for member_id in members]))
    return numbers[owner_id]


def _take_number(member_id: int, *, is_waiting: bool) -> int:
    # One statement, which Django's ORM does not have; it locks the row, also a new one. ON CONFLICT and
    # RETURNING are the same on SQLite (3.35) and PostgreSQL.
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO chat_ledger (owner_id, last_change, waiting_change) VALUES (%s, 1, %s) "
            "ON CONFLICT (owner_id) DO UPDATE SET last_change = chat_ledger.last_change + 1, "
            "waiting_change = "
            "CASE WHEN %s THEN chat_ledger.last_change + 1 ELSE chat_ledger.waiting_change END "
            "RETURNING last_change",
            [member_id, int(is_waiting), is_waiting],
        )
        return int(cursor.fetchone()[0])


def announce_conversation(conversation: Conversation, approvers: Iterable[int] = ()) -> None:
    """Record a change of the conversation itself, at the end of the transaction that changed it."""
    number = announce(conversation.owner_id, approvers)
    Conversation.objects.filter(pk=conversation.pk).update(last_change=number)


def announce_decisions(conversation: Conversation, approvers: Iterable[int]) -> None:
    """Record that requests of the conversation were decided, and that its agent waits for more."""
    number = announce(conversation.owner_id, approvers)
    Conversation.objects.filter(pk=conversation.pk).update(waiting_change=number)


def announce_decision(member_id: int) -> None:
    """Record that moderators decided something about the member, at the end of their transaction."""
    Ledger.objects.filter(pk=member_id).update(decision_change=announce(member_id))


def last_of(owner_ids: Iterable[int]) -> dict[int, int]:
    """Return the last number of each of these members, without members that never had a change."""
    return dict(_last.all(list(owner_ids)))


_last = Statement(lambda owners: Ledger.objects.filter(pk__in=owners).values_list("owner_id", "last_change"))


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
    found += _waiting(owner_id, after, last) + _queues(owner_id, after, last)
    found += _decisions(owner_id, after, last)
    if len(found) > CHANGES_NAMED:
        return last, [Change(EVERYTHING)]
    # Stable: a new conversation and its first run have one number, and the conversation stays first.
    found.sort(key=lambda each: each[0])
    return last, [change for _number, change in found]


def _waiting(owner_id: int, after: int, last: int) -> list[tuple[int, Change]]:
    conversations = Conversation.objects.filter(
        owner=owner_id, waiting_change__gt=after, waiting_change__lte=last
    ).values_list("waiting_change", "pk")[: CHANGES_NAMED + 1]
    own = Ledger.objects.filter(pk=owner_id, waiting_change__gt=after, waiting_change__lte=last)
    found = [(number, Change(WAITS, pk)) for number, pk in conversations if number]
    return found + [(number, Change(WAITS)) for number in own.values_list("waiting_change", flat=True)]


def _queues(owner_id: int, after: int, last: int) -> list[tuple[int, Change]]:
    found = Conversation.objects.filter(owner=owner_id, queue_change__gt=after, queue_change__lte=last)
    numbers = found.values_list("queue_change", "pk")
    return [(number or 0, Change(QUEUE, pk)) for number, pk in numbers[: CHANGES_NAMED + 1]]


def _decisions(owner_id: int, after: int, last: int) -> list[tuple[int, Change]]:
    own = Ledger.objects.filter(pk=owner_id, decision_change__gt=after, decision_change__lte=last)
    return [(number or 0, Change(DECISION)) for number in own.values_list("decision_change", flat=True)]


def _runs(changed: dict[str, int]) -> list[tuple[int, Change]]:
    found = Run.objects.filter(**changed).values_list("last_change", "status", "conversation", "pk")
    return [
        (number, Change(RUN_BEGUN if status in Run.ACTIVE else RUN_ENDED, conversation, run))
        for number, status, conversation, run in found[: CHANGES_NAMED + 1]
    ]
