"""Erasure of accounts: asked for by their members, due ERASE_DAYS later, done in small steps.

The state is in the database, so that any process goes on where one was killed. chat/personal_data.py declares
what happens to each table.
"""

import logging
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from email.utils import getaddresses
from pathlib import Path
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.sessions import session_ended
from chat import actions, personal_data, purge, waiting
from chat.models import AccountDeletion, Conversation, DataDownload, Message, PersonRequest, Run
from chat.personal_data import PersonalData, ids_in_pages
from chat.refusals import Refusal
from chat.search.index import index_due, merge_some

log = logging.getLogger(__name__)

ERASE_DAYS = 7  # in which the member can cancel
DOWNLOAD_PAUSE = timedelta(hours=1)
LEASE = timedelta(minutes=2)  # after the last step of a process that died, another one goes on

# Pauses after a step, in seconds: others write meanwhile.
STEP_PAUSE = 0.05
RUN_PAUSE = 1.0  # while a run is being stopped

# A larger file is not rewritten while others write: 7 MB take 80 ms.
VACUUM_MAX_BYTES = 8 * 1024 * 1024
WAIT_MS = 100  # for readers and writers, in which nobody else can write

# Letters in a file, as Django's back end separates them.
LETTERS_END = b"\n" + b"-" * 79 + b"\n"

# Erased last, in one transaction: they say that there is something to erase.
_LAST = (User, AccountDeletion)


# --- the member's request -------------------------------------------------------------------------


def request_deletion(user: User) -> tuple[AccountDeletion, bool]:
    """Store that the account is to be deleted; return that, and whether it is new.

    Raises the 409 refusal for the site owner.
    """
    if User.objects.filter(pk=user.pk, is_superuser=True).exists():  # checked again before the erasure
        raise Refusal(
            409,
            "site_owner",
            _("You own this site. Make another member its owner first: manage.py hand_over."),
        )
    now = timezone.now()
    due_at = now + timedelta(days=ERASE_DAYS)
    return AccountDeletion.objects.get_or_create(user=user, defaults={"requested_at": now, "due_at": due_at})


def cancel_deletion(user: User) -> bool:
    """Keep the account. Return whether a deletion was cancelled: not once the erasure has begun."""
    deleted, _models = AccountDeletion.objects.filter(user=user, worked_at=None).delete()
    return bool(deleted)


def claim_download(user: User) -> timedelta | None:
    """Record that the member's data is downloaded now; else return how long the member has to wait."""
    now = timezone.now()
    stored, is_new = DataDownload.objects.get_or_create(user=user, defaults={"begun_at": now})
    # Guarded: of two requests at the same time one changes the row.
    again = DataDownload.objects.filter(user=user, begun_at__lte=now - DOWNLOAD_PAUSE)
    if is_new or again.update(begun_at=now):
        return None
    stored.refresh_from_db()
    return stored.begun_at + DOWNLOAD_PAUSE - now


# --- the erasure ----------------------------------------------------------------------------------


@transaction.atomic
def claim_erasure() -> User | None:
    """Begin the erasure that is due first, or go on with it after its process died.

    The account is deactivated, and returned. Returns None if nothing is due, or while another process erases.
    """
    now = timezone.now()
    due = AccountDeletion.objects.filter(due_at__lte=now)
    idle = Q(worked_at=None) | Q(worked_at__lte=now - LEASE)
    first = due.order_by("due_at", "pk").first()
    if first is None or due.exclude(idle).exists():
        return None
    if not due.filter(idle, pk=first.pk).update(worked_at=now):
        return None
    if not User.objects.filter(pk=first.pk, is_superuser=False).update(is_active=False):
        log.warning("The account %s is not erased: it owns the site now", first.pk)
        first.delete()
        return None
    return User.objects.get(pk=first.pk)


def erase(user: User) -> Iterator[float]:
    """Erase the account in steps; yield after each one how many seconds to pause. Each can be repeated."""
    while True:
        for pause in _erase_all(user):
            AccountDeletion.objects.filter(pk=user.pk).update(worked_at=timezone.now())
            yield pause
        if _delete_account(user):
            break
    log.info("The account %s is erased", user.pk)


def _erase_all(user: User) -> Iterator[float]:
    """Erase all but the account itself."""
    for pk in _conversations(user):
        _mark_deleted(pk)
        yield STEP_PAUSE
    # The sweep stops the runs of an account that is not active.
    while Run.objects.active().filter(owner=user).exists():
        yield RUN_PAUSE
    yield from _erase_letters(user)
    yield from _erase_names(user)
    for data in personal_data.declarations:
        if data.model not in _LAST and not _leaves_with_conversation(data):
            yield from _erase_rows(user, data)
    for pk in _conversations(user):
        while _purge_some(pk):
            yield STEP_PAUSE
        yield STEP_PAUSE
    while index_due():
        yield STEP_PAUSE
    if settings.ON_SQLITE:
        is_first = True
        while merge_some(begin=is_first):
            is_first = False
            yield STEP_PAUSE


def _conversations(user: User) -> Iterator[Any]:
    for ids in ids_in_pages(Conversation.objects.filter(owner=user), personal_data.CONVERSATIONS_AT_ONCE):
        yield from ids


@transaction.atomic
def _mark_deleted(conversation: Any) -> None:
    found = Conversation.objects.select_for_update().filter(pk=conversation, deleted_at=None).first()
    if found:
        actions.mark_deleted(found)


@transaction.atomic
def _purge_some(conversation: Any) -> bool:
    """Delete some rows of a conversation; return whether there are more."""
    _messages, conversations = purge.delete_some(conversation)
    return not conversations


def _erase_names(user: User) -> Iterator[float]:
    """Remove the member's name from what conversations of others say about their decisions."""
    decided = PersonRequest.objects.filter(decided_by=user, answered_by__isnull=False)
    for ids in ids_in_pages(decided.exclude(approvers=""), purge.PURGED_AT_ONCE):
        for prompt in Message.objects.filter(answers__answered__in=ids).distinct():
            text, parts = waiting.without_deciders(
                prompt.text, prompt.parts, lambda request: request.decided_by_id == user.pk
            )
            Message.objects.filter(pk=prompt.pk).update(text=text, parts=parts)
            yield STEP_PAUSE


def _leaves_with_conversation(data: PersonalData) -> bool:
    """Return whether the rows are those of the member's own conversations, which the purge deletes."""
    return data.model in purge.PURGED_MODELS and str(data.path).endswith("owner")


def _erase_rows(user: User, data: PersonalData) -> Iterator[float]:
    if data.erase.reason:
        return
    for rows in data.rows(user):
        for ids in ids_in_pages(rows, purge.PURGED_AT_ONCE):
            found = data.model._base_manager.filter(pk__in=ids)
            with transaction.atomic():
                if data.erase.values:
                    found.update(**data.erase.values)
                else:
                    found.delete()
            yield STEP_PAUSE
        yield 0.0
    if data.model is Session:
        session_ended.send(Session)


@transaction.atomic
def _delete_account(user: User) -> bool:
    """Delete the account; return whether it had no conversation left, which a late request may have begun."""
    if Conversation.objects.filter(owner=user).exists():
        return False
    for call in personal_data.on_erasure:
        call(user)
    User.objects.filter(pk=user.pk).delete()
    if settings.ON_SQLITE:
        _set_version(_HAS_TRACES)
    return True


def _erase_letters(user: User) -> Iterator[float]:
    """Erase the letters to the member that a site without a mail server has written to files."""
    own = EmailAddress.objects.filter(user=user).values_list("email", flat=True)
    addresses = {address.casefold() for address in (user.email, *own) if address}
    for path in sorted(Path(settings.EMAIL_FILE_PATH).glob("*.log")):
        letters = path.read_bytes().split(LETTERS_END)
        kept = [letter for letter in letters if not addresses & _recipients(letter)]
        if not any(kept):
            path.unlink()
        elif len(kept) < len(letters):
            copy = path.with_suffix(".part")
            copy.write_bytes(LETTERS_END.join(kept))
            copy.replace(path)
        yield 0.0


def _recipients(letter: bytes) -> set[str]:
    headers = message_from_bytes(letter, policy=policy.default).get_all("to", [])
    return {address.casefold() for _name, address in getaddresses([str(each) for each in headers])}


# --- SQLite's file --------------------------------------------------------------------------------

# Values of SQLite's ``user_version``, which nothing else uses.
_CLEAN = 0
_HAS_TRACES = 1  # an account was erased
_HAS_GAPS = 2  # only between the rows of pages, which VACUUM rewrites


def has_traces() -> bool:
    """Return whether erased rows have left traces in SQLite's file."""
    return settings.ON_SQLITE and _pragma("user_version")[0] != _CLEAN


def clean_file(*, is_alone: bool = False) -> None:
    """Remove from SQLite's file what erased rows have left in its log and between other rows.

    A large file is rewritten only if this process ``is_alone``: others would wait. Raises OperationalError
    while others are reading or writing. On PostgreSQL VACUUM is the operator's.
    """
    if not settings.ON_SQLITE:
        return
    version = _pragma("user_version")[0]
    is_small = Path(connection.settings_dict["NAME"]).stat().st_size <= VACUUM_MAX_BYTES
    if version == _CLEAN or (version == _HAS_GAPS and not (is_alone or is_small)):
        return
    _pragma(f"busy_timeout={WAIT_MS}")
    try:
        # Freed pages are overwritten (secure_delete). A page that SQLite has split keeps copies of the rows
        # that moved, until it is written again.
        if is_alone or is_small:
            with connection.cursor() as cursor:
                cursor.execute("VACUUM")
        _pragma("wal_checkpoint(PASSIVE)")  # most of the log, while others write
        is_busy = _pragma("wal_checkpoint(TRUNCATE)")[0]
    finally:
        _pragma(f"busy_timeout={connection.settings_dict['OPTIONS']['timeout'] * 1000}")
    if is_busy:
        raise OperationalError("The log could not be truncated: the database is in use")
    _set_version(_CLEAN if is_alone or is_small else _HAS_GAPS)


def _set_version(version: int) -> None:
    _pragma(f"user_version={version}")


def _pragma(text: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA {text}")
        return cursor.fetchone()
