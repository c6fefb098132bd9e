"""Rows of calls: opened, resumed and taken over, renewed every second, and ended.

A call is *connected* while its socket is open. After that it is *lost* for CALL_GRACE_SECONDS, in which any
process may resume it. Times are the database's, for servers on several machines.
"""

import base64
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import BooleanField, ExpressionWrapper, F, Q, QuerySet, Sum
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from accounts.models import User, able_to_ask
from chat import hooks, refusals
from chat.calls.closing import CallEnd, CallRefused
from chat.calls.models import LiveCall
from chat.models import Conversation, Run
from chat.refusals import Refusal

CALL_GRACE_SECONDS = 30  # after the loss of its socket, in which a call can be resumed
CONNECTED_SECONDS = 3  # since its process has renewed it: two renewals may be late
LIMITED = timedelta(days=1)  # the last 24 hours: midnight is at another time for each member

_HANDLE_SALT = "chat.calls.handle"


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A call as its process holds it, with its counts since it was opened, in whichever process."""

    epoch: int
    seconds_in: float = 0.0
    seconds_out: float = 0.0
    turns: int = 0


def unended_calls() -> QuerySet[LiveCall]:
    return LiveCall.objects.filter(ended_at=None)


def admit(
    member: User, conversation_id: uuid.UUID, process_id: uuid.UUID, *, call: uuid.UUID | None = None
) -> LiveCall:
    """Open a call of ``member`` in the conversation, or resume the one that has lost its socket.

    A connected call is only taken over by a client that names it with ``call``. Its ``epoch`` is higher if
    another process held it; the same process attaches the new socket to the call that it holds.
    ``seconds_left`` of the returned row is what the member's day leaves to this call, None without a limit.
    Raises CallRefused.
    """
    try:
        return _admit(member, conversation_id, process_id, call)
    except IntegrityError:  # lost a race: the other call is stored now
        try:
            return _admit(member, conversation_id, process_id, call)
        except IntegrityError as error:  # the row of this process is gone
            raise CallRefused(CallEnd.UNAVAILABLE) from error


@transaction.atomic
def _admit(
    member: User, conversation_id: uuid.UUID, process_id: uuid.UUID, call: uuid.UUID | None
) -> LiveCall:
    # The conversation first, as where it is asked in or deleted: then no run begins meanwhile.
    conversation = (
        Conversation.objects.visible_to(member).select_for_update().filter(pk=conversation_id).first()
    )
    if conversation is None:
        raise CallRefused(CallEnd.NOT_FOUND)
    _refuse_by_rules(member, conversation)
    found = _locked(Q(owner=member))
    is_here = found is not None and found.row.conversation_id == conversation.pk
    if found and found.is_connected and not (is_here and found.row.pk == call):
        raise CallRefused(CallEnd.IN_CALL)
    if found and (found.is_over or not is_here):
        _end(found.row, CallEnd.LOST)
        found = None
    resumed = found.row if found else None
    _refuse_busy(conversation, is_in_call=resumed is not None)
    left = seconds_left(member.pk, beside=resumed.pk if resumed else None)
    if left is not None and left <= (resumed.seconds_in + resumed.seconds_out if resumed else 0):
        raise CallRefused(CallEnd.OVER_LIMIT)
    pk = _resume(resumed, process_id) if resumed else _open(conversation, process_id)
    row = LiveCall.objects.select_related("conversation", "owner").get(pk=pk)
    row.seconds_left = left
    return row


def _open(conversation: Conversation, process_id: uuid.UUID) -> uuid.UUID:
    opened = LiveCall(conversation=conversation, owner_id=conversation.owner_id, process_id=process_id)
    now: Any = Now()  # the database sets both
    opened.opened_at = opened.seen_at = now
    opened.save(force_insert=True)
    return opened.pk


def _resume(call: LiveCall, process_id: uuid.UUID) -> uuid.UUID:
    # The same process attaches the socket to the call that it holds.
    epoch = call.epoch if call.process_id == process_id else call.epoch + 1
    unended_calls().filter(pk=call.pk).update(process_id=process_id, epoch=epoch, seen_at=Now(), lost_at=None)
    return call.pk


def _refuse_by_rules(member: User, conversation: Conversation) -> None:
    """Raise CallRefused if the member may not ask in this conversation now."""
    if not member.is_active:
        raise CallRefused(CallEnd.SIGNED_OUT)
    if conversation.locked_at:
        raise CallRefused(CallEnd.LOCKED)
    if member.is_suspended():
        raise CallRefused(CallEnd.SUSPENDED)
    if member.warned_at:
        raise CallRefused(CallEnd.WARNED)
    for may_ask in hooks.may_ask:
        try:
            may_ask(member, conversation)
        except Refusal as refusal:
            raise CallRefused(CallEnd.LOCKED, refusal.detail) from refusal


def _refuse_busy(conversation: Conversation, *, is_in_call: bool) -> None:
    """Raise CallRefused if the conversation answers, or is about to."""
    # A turn of the call that is resumed goes on, or the sweep ends it.
    own = Q(mode=Run.Mode.LIVE) if is_in_call else Q(pk=None)
    if conversation.runs.active().exclude(own).exists() or conversation.queue.exists():
        raise CallRefused(CallEnd.BUSY)


# --- connected, lost, over ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Open:
    """An open call, locked, and what the database's clock says of it."""

    row: LiveCall
    is_connected: bool
    is_over: bool  # the grace is


def _locked(which: Q) -> _Open | None:
    facts = {
        "is_renewed": Q(lost_at=None, seen_at__gt=Now() - timedelta(seconds=CONNECTED_SECONDS)),
        "is_over": Q(seen_at__lte=Now() - timedelta(seconds=CALL_GRACE_SECONDS)),
    }
    annotated: QuerySet[Any] = unended_calls().annotate(
        **{name: ExpressionWrapper(fact, BooleanField()) for name, fact in facts.items()}
    )
    found = annotated.filter(which).select_related("process").select_for_update(of=("self",)).first()
    if found is None:
        return None
    return _Open(found, found.is_renewed and not _is_process_dead(found), found.is_over)


def _is_process_dead(call: LiveCall) -> bool:
    """Return whether the call's process is gone for certain: its row is, or it ran here and has ended."""
    process = call.process
    if process is None:
        return True
    if process.pid == os.getpid() or process.host != socket.gethostname() or not process.boot_id:
        return False
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    if not boot_id.exists() or boot_id.read_text().strip() != process.boot_id:
        return False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # it lives, as another user
    return False


def mark_lost(call: uuid.UUID, epoch: int) -> bool:
    """Store that the call has no socket since now; False if it is not this holder's, or has ended."""
    return bool(unended_calls().filter(pk=call, epoch=epoch).update(lost_at=Now(), seen_at=Now()))


def end_call(call: uuid.UUID, epoch: int, end: CallEnd) -> bool:
    """End the call, and forget its handle. Return False if it is not this holder's, or has ended."""
    return bool(unended_calls().filter(pk=call, epoch=epoch).update(**_ended(end)))


def end_lost() -> int:
    """End the calls, of any process, whose socket was lost CALL_GRACE_SECONDS ago. Return their number."""
    over = unended_calls().filter(seen_at__lte=Now() - timedelta(seconds=CALL_GRACE_SECONDS))
    # Look first: on SQLite an update waits for all that write.
    return over.exists() and over.update(**_ended(CallEnd.LOST))


def _end(call: LiveCall, end: CallEnd) -> None:
    unended_calls().filter(pk=call.pk).update(**_ended(end))


def _ended(end: CallEnd) -> dict[str, object]:
    return {"ended_at": Now(), "end_code": end.label, "handle": None, "handle_at": None}


# --- while it is open -----------------------------------------------------------------------------


def renew_calls(calls: Mapping[uuid.UUID, HeldCall]) -> None:
    """Store that these calls are connected, and their counts, in one statement.

    A call that counts as lost is so no more: its new socket may have come before the loss of the old one was
    stored. A call that another process has taken over, or that has ended, stays as it is.
    """
    if not calls:
        return
    key = LiveCall._meta.pk
    values: list[Any] = []
    for pk, held in calls.items():
        values += [key.get_db_prep_value(pk, connection), held.epoch]
        values += [held.seconds_in, held.seconds_out, held.turns]
    rows = ", ".join(["(%s, %s, %s, %s, %s)"] * len(calls))
    with connection.cursor() as cursor:
        cursor.execute(_RENEW.format(rows=rows), values)


# Raw SQL: the ORM would build a CASE of each column for each call, every second.
_RENEW = """
    UPDATE calls_livecall SET
        seen_at = {now}, lost_at = NULL,
        seconds_in = held.column3, seconds_out = held.column4, turns = held.column5
    FROM (VALUES {{rows}}) AS held
    WHERE calls_livecall.id = held.column1 AND calls_livecall.epoch = held.column2
        AND calls_livecall.ended_at IS NULL
""".format(
    now="STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')" if settings.ON_SQLITE else "STATEMENT_TIMESTAMP()"
)


def ends_of(calls: Mapping[uuid.UUID, int]) -> dict[uuid.UUID, CallEnd]:
    """Return which of these calls, by their epochs, must end in this process, and why; in one statement.

    Another process took it over or it has ended, its conversation is deleted or locked, its member may no
    longer ask, or it has lasted LIVE_SECONDS.
    """
    facts = {
        "is_locked": Q(conversation__locked_at__isnull=False),
        "is_gone": Q(conversation__deleted_at__isnull=False) | ~Q(conversation__owner=F("owner")),
        "may_ask": able_to_ask("owner__"),
        "is_too_long": Q(opened_at__lte=Now() - timedelta(seconds=settings.LIVE_SECONDS)),
    }
    found = LiveCall.objects.filter(pk__in=calls).annotate(
        **{name: ExpressionWrapper(fact, BooleanField()) for name, fact in facts.items()}
    )
    rows = {
        row["pk"]: row
        for row in found.values("pk", "epoch", "ended_at", "end_code", "owner__is_active", *facts)
    }
    ends = {pk: _end_of(rows.get(pk), epoch) for pk, epoch in calls.items()}
    return {pk: end for pk, end in ends.items() if end}


def _end_of(row: dict[str, Any] | None, epoch: int) -> CallEnd | None:
    if row is None or row["is_gone"]:
        return CallEnd.NOT_FOUND
    if row["ended_at"]:
        return next(end for end in CallEnd if end.label == row["end_code"])
    if row["epoch"] != epoch:
        return CallEnd.TAKEN_OVER
    if not row["owner__is_active"]:
        return CallEnd.SIGNED_OUT
    if row["is_locked"]:
        return CallEnd.LOCKED
    if not row["may_ask"]:
        return CallEnd.SUSPENDED
    return CallEnd.TOO_LONG if row["is_too_long"] else None


def seconds_left(member: int, *, beside: uuid.UUID | None = None) -> float | None:
    """Return how many seconds of sound LIVE_MINUTES_A_DAY leaves a member; None if there is no limit.

    Both sides' sound counts, of the calls that were opened in the last 24 hours; the call ``beside`` doesn't.
    """
    if not (settings.LIMITS and settings.LIVE_MINUTES_A_DAY):
        return None
    day = LiveCall.objects.filter(owner=member, opened_at__gt=Now() - LIMITED)
    others = day.exclude(pk=beside) if beside else day
    used = others.aggregate(seconds=Sum(F("seconds_in") + F("seconds_out")))["seconds"] or 0.0
    return max(0.0, settings.LIVE_MINUTES_A_DAY * 60 - used)


# --- written asks ---------------------------------------------------------------------------------


def refuse_in_call(conversation: Conversation) -> None:
    """Raise the 409 refusal while a call is connected in the conversation; end a call that is lost.

    Call it with the conversation locked.
    """
    found = _locked(Q(conversation=conversation))
    if found is None:
        return
    if found.is_connected:
        raise refusals.in_call()
    _end(found.row, CallEnd.WRITTEN)


# --- handles --------------------------------------------------------------------------------------


def store_handle(call: uuid.UUID, epoch: int, handle: str) -> bool:
    """Store encrypted how the provider resumes this session; False if the call is not this holder's."""
    stored = _fernet(call, settings.SECRET_KEY).encrypt(handle.encode()).decode()
    return bool(unended_calls().filter(pk=call, epoch=epoch).update(handle=stored, handle_at=Now()))


def handle_of(call: uuid.UUID) -> str | None:
    """Return the handle of an open call; None if there is none, or its key is gone."""
    stored = unended_calls().filter(pk=call).values_list("handle", flat=True).first()
    if stored is None:
        return None
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            return _fernet(call, key).decrypt(stored).decode()
        except InvalidToken:
            continue
    return None


def _fernet(call: uuid.UUID, secret: str | bytes) -> Fernet:
    # A key for each call: the handle of one is no use in the row of another.
    key = salted_hmac(_HANDLE_SALT, str(call), secret=secret, algorithm="sha256").digest()
    return Fernet(base64.urlsafe_b64encode(key))
