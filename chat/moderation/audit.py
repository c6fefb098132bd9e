"""The audit: appended rows, chained by HMAC with a key that is not in the database.

It proves that rows were not changed, and with a head from the log that none of the last ones is missing. It
does not prove that a row was written: someone with the database and the key can write any.
"""

import hashlib
import hmac
import json
import logging
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.secret_file import secret_from_file
from chat import refusals
from chat.instruments import logs
from chat.moderation.models import AuditEvent, AuditHead, AuditText
from chat.refusals import Refusal

log = logging.getLogger(__name__)

KEY_BYTES = 32
SEGMENT = 1_000  # rows; old ones leave the audit in whole segments
REMOVED_AT_ONCE = 200
# In this order in the chain. Never reorder: a new column is appended, and only if it has a value.
_HASHED = (
    "seq", "at", "actor", "member", "action", "object_type", "object_id", "reason", "grant", "request",
    "told_from", "text_digest", "removed_through", "removed_hash",
)  # fmt: skip


class AuditBroken(Refusal):
    """The audit cannot be continued: its head is missing, or this process has no key or another one.

    The user is refused with 503; ``str()`` is the sentence for the operator, and is logged by ``record``.
    """

    def __init__(self, fault: str) -> None:
        sentence = _("The audit cannot be written, so nothing is shown. Tell the operator of this site.")
        super().__init__(503, "unavailable", sentence, retry_after=refusals.RETRY_AFTER_SECONDS)
        self.fault = fault

    def __str__(self) -> str:
        return self.fault


@transaction.atomic
def record(
    action: str,
    *,
    actor: User | None,
    member: User | None = None,
    text: str = "",
    **columns: Any,
) -> AuditEvent:
    """Append a row in the caller's transaction, which must commit before anything is shown.

    ``member`` is the user that it concerns. ``text`` was typed, and is stored apart. ``columns`` are further
    ones of AuditEvent. Raises AuditBroken.
    """
    try:
        head = _lock_head()
    except AuditBroken as broken:
        log.error("%s", broken.fault)  # noqa: TRY400  (its traceback says no more)
        raise
    event = AuditEvent(
        seq=head.seq + 1,
        at=timezone.now(),
        actor=actor.audit_id if actor else None,
        member=member.audit_id if member else None,
        action=action,
        request=logs.request_id(),
        **columns,
    )
    if text:
        stored = AuditText(seq=event.seq, salt=secrets.token_hex(16), text=text, author=actor, about=member)
        stored.save(force_insert=True)
        event.text_digest = digest_of(stored)
    event.hash = hash_of(event, head.hash)
    event.save(force_insert=True)
    AuditHead.objects.filter(pk=head.pk).update(seq=event.seq, hash=event.hash)
    return event


def _lock_head() -> AuditHead:
    head = AuditHead.objects.select_for_update().first()
    if head is None:
        if AuditEvent.objects.exists():
            raise AuditBroken("The head of the audit is missing. Run: manage.py verify_audit")
        try:
            with transaction.atomic():
                AuditHead.objects.create(key_digest=_digest_of_key())
        except IntegrityError:
            pass  # another process was first
        head = AuditHead.objects.select_for_update().get()
    if not head.key_digest:
        head.key_digest = _digest_of_key()
        head.save(update_fields=["key_digest"])
    _check_key(head)
    return head


def _check_key(head: AuditHead) -> None:
    if not hmac.compare_digest(head.key_digest, _digest_of_key()):
        raise AuditBroken("AUDIT_KEY_FILE holds another key than the one of this audit.")


def _key() -> bytes:
    try:
        key = secret_from_file(settings.AUDIT_KEY_FILE, KEY_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise AuditBroken(f"AUDIT_KEY_FILE cannot be read: {error}") from error
    if not key:
        raise AuditBroken("AUDIT_KEY_FILE is empty.")
    return key.encode()


def _digest_of_key() -> str:
    return hmac.new(_key(), b"key", hashlib.sha256).hexdigest()


def hash_of(event: AuditEvent, before: str) -> str:
    """Return the hash of a row whose predecessor has the hash ``before``."""
    values = [canonical(getattr(event, name)) for name in _HASHED]
    return hmac.new(_key(), json.dumps([before, *values]).encode(), hashlib.sha256).hexdigest()


def canonical(value: Any) -> Any:
    """Return a column's value as the chain and the export hold it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return str(value) if isinstance(value, uuid.UUID) else value


def digest_of(text: AuditText) -> str:
    """Return the digest that its row holds of a typed text."""
    return hmac.new(text.salt.encode(), text.text.encode(), hashlib.sha256).hexdigest()


# --- the proof ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of a check of the whole audit."""

    rows: int
    head: str  # as ``head_text``; empty without rows
    faults: list[str]
    erased_texts: int


def head_text(seq: int, digest: str) -> str:
    """Return the name of a row as ``verify_audit --head`` takes it."""
    return f"{seq}:{digest}"


def verify(expected_head: str = "") -> Verification:
    """Check each row, the texts, and that the chain still holds the ``expected_head``. Raises AuditBroken."""
    # Read before the head, which is written with each row: an honest head is never behind.
    newest = AuditEvent.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
    head = AuditHead.objects.first() or AuditHead()
    if head.key_digest:
        _check_key(head)
    checkpoint = newest_checkpoint()
    first = (checkpoint and checkpoint.removed_through) or 0
    before = checkpoint.removed_hash if checkpoint else ""
    faults: list[str] = []
    wanted_seq, _colon, wanted_hash = expected_head.partition(":")
    has_expected = not expected_head
    rows, seq = 0, first
    # Rows that come meanwhile are not looked at.
    chain = AuditEvent.objects.filter(seq__gt=first, seq__lte=max(head.seq, newest)).order_by("seq")
    for event in chain.iterator(chunk_size=500):
        if event.seq != seq + 1:
            faults.append(f"Rows {seq + 1} to {event.seq - 1} are missing.")
        elif event.hash != hash_of(event, before):
            faults.append(f"Row {event.seq} was changed.")
        if str(event.seq) == wanted_seq:
            has_expected = event.hash == wanted_hash
        seq, before, rows = event.seq, event.hash, rows + 1
    faults += _faults_of_head(head, seq, before)
    if not has_expected and not (wanted_seq.isdigit() and int(wanted_seq) <= first):
        faults.append(f"The chain does not hold the head {expected_head}.")
    digests = dict(AuditEvent.objects.exclude(text_digest="").values_list("seq", "text_digest"))
    for text in AuditText.objects.iterator(chunk_size=500):
        if digests.pop(text.seq, "") != digest_of(text):
            faults += [f"The text of row {text.seq} was changed."]
    return Verification(rows, head_text(seq, before) if rows else "", faults, erased_texts=len(digests))


def _faults_of_head(head: AuditHead, newest: int, digest: str) -> list[str]:
    """Compare the head with the newest row and its hash."""
    if (head.seq, head.hash) == (newest, digest):
        return []
    fault = "the head was changed" if newest > head.seq else "the tail is missing"
    return [f"The head names row {head.seq}, and the newest row is {newest}: {fault}."]


def newest_checkpoint() -> AuditEvent | None:
    return AuditEvent.objects.filter(removed_through__isnull=False).order_by("-removed_through").first()


# --- duties -------------------------------------------------------------------------------------------


@transaction.atomic
def log_head(every: timedelta) -> bool:
    """Write the head to the log, unless a process did so within ``every``. Return whether it was written."""
    now = timezone.now()
    head = AuditHead.objects.select_for_update().first()
    if head is None or not head.seq or (head.logged_at and head.logged_at > now - every):
        return False
    AuditHead.objects.filter(pk=head.pk).update(logged_at=now)
    log.info("The head of the audit is %s", head_text(head.seq, head.hash))
    return True


@transaction.atomic
def mark_old_rows() -> None:
    """Write a checkpoint after which whole segments older than AUDIT_DAYS may be deleted."""
    limit = timezone.now() - timedelta(days=settings.AUDIT_DAYS)
    kept = (
        AuditEvent.objects.filter(at__gte=limit).order_by("at", "seq").values_list("seq", flat=True).first()
    )
    head = AuditHead.objects.first()
    last_old = (kept - 1) if kept else (head.seq if head else 0)
    through = last_old - last_old % SEGMENT
    checkpoint = newest_checkpoint()
    if through <= (checkpoint.removed_through or 0 if checkpoint else 0):
        return
    digest = AuditEvent.objects.values_list("hash", flat=True).get(seq=through)
    record("audit.checkpoint", actor=None, removed_through=through, removed_hash=digest)


@transaction.atomic
def remove_some() -> bool:
    """Delete a batch of the rows behind the newest checkpoint. Return whether there were any."""
    checkpoint = newest_checkpoint()
    if checkpoint is None:
        return False
    old = AuditEvent.objects.filter(seq__lte=checkpoint.removed_through).order_by("seq")
    ids = list(old.values_list("seq", flat=True)[:REMOVED_AT_ONCE])
    AuditText.objects.filter(seq__in=ids).delete()
    AuditEvent.objects.filter(seq__in=ids).delete()
    return bool(ids)
