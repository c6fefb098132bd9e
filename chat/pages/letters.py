"""Letters that a request waits, without its content: WAITING_EMAIL_MINUTES after it was asked."""

import asyncio
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from chat.approvers import members_of
from chat.database import run_db
from chat.models import PersonRequest, RequestLook
from chat.pages import mailing
from chat.runs.supervisor import supervisor
from chat.waiting import is_open

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Addressee:
    """The owner of a conversation, or a group of approvers."""

    conversation: uuid.UUID | None = None
    group: str = ""


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter whose requests are claimed by this process: no other process sends it."""

    addressee: Addressee
    addresses: list[str]
    requests: list[uuid.UUID]
    claimed_at: datetime


async def send_letters() -> None:
    """Send due letters for as long as this process serves."""
    while True:
        await asyncio.sleep(mailing.PAUSE_SECONDS)  # little of a minute, the setting's unit
        if settings.WAITING_EMAIL_MINUTES:
            try:
                await send_due_letters()
            except (DatabaseError, InterfaceError) as error:
                log.warning("No letters are sent: the database did not answer: %s", error)


async def send_due_letters() -> None:
    """Send the letters that are due now. After one that the mail server did not take, wait for the next call.

    The claim is committed before the mail server gets the letter: after a crash between the two no one gets
    it. The other order would send it twice, and the request is on the page anyway.
    """
    for addressee in await run_db(_due_addressees):
        letter = await run_db(_claim, addressee)
        if letter is None:
            continue
        of_owner = letter.addressee.conversation
        path = reverse("chat:conversation", args=[of_owner]) if of_owner else reverse("chat:waiting")
        facts = {"is_owner": bool(of_owner)}
        if not await mailing.send_claimed(
            "chat/letters/waiting", path, facts, letter.addresses, _give_back, letter
        ):
            return


def _due_addressees() -> list[Addressee]:
    """Return the addressees of requests that have waited long enough without a letter, oldest first."""
    due = PersonRequest.objects.waiting().filter(mailed_at=None, asked_at__lte=_asked_before())
    reachable = due.exclude(approvers="", run__owner__email="")
    pairs = reachable.order_by("asked_at", "id").values_list("run__conversation", "approvers")
    return list(
        dict.fromkeys(
            Addressee(group=group) if group else Addressee(conversation=conversation)
            for conversation, group in pairs
        )
    )


def _asked_before() -> datetime:
    return timezone.now() - timedelta(minutes=settings.WAITING_EMAIL_MINUTES)


def _claim(addressee: Addressee) -> Letter | None:
    """Store that a letter about the due requests is sent, and return it; None if no one is to get one."""
    open_now = [each for each in _requests_of(addressee) if is_open(each)]
    latest = _asked_before()
    due = [each for each in open_now if each.mailed_at is None and each.asked_at <= latest]
    people = _recipients(addressee, open_now, due) if due else []
    if not people:
        return None
    # Each process begins with the oldest request, so this one statement decides which process has the letter.
    # One row a statement: a transaction with several could deadlock with one that stores decisions.
    now = timezone.now()
    unclaimed = PersonRequest.objects.filter(mailed_at=None, decision="")
    claimed = []
    for each in due:
        if unclaimed.filter(pk=each.pk).update(mailed_at=now):
            claimed.append(each.pk)
        elif not claimed:
            return None
    return Letter(addressee, [person.email for person in people], claimed, now)


def _requests_of(addressee: Addressee) -> list[PersonRequest]:
    found = PersonRequest.objects.waiting().filter(approvers=addressee.group)
    if addressee.conversation:
        found = found.filter(run__conversation=addressee.conversation)
    return list(found.select_related("run__conversation", "run__owner").order_by("asked_at", "id"))


def _recipients(
    addressee: Addressee, open_now: Sequence[PersonRequest], due: Sequence[PersonRequest]
) -> list[User]:
    """Return the people who get a letter about the due requests.

    Leave out those with an earlier letter about an open request: the owner has not decided it, an approver
    has not looked at it.
    """
    mailed = [each for each in open_now if each.mailed_at]
    if not addressee.group:
        owner = due[0].run.owner
        return [owner] if owner.email and not mailed else []
    looks = RequestLook.objects.filter(request__in=open_now).values_list("request", "person")
    seen = set(looks)
    return [
        member
        for member in members_of([addressee.group]).exclude(email="").order_by("pk")
        if _concern(member, due, seen) and not _concern(member, mailed, seen)
    ]


def _concern(member: User, requests: Sequence[PersonRequest], seen: set[tuple[uuid.UUID, int]]) -> bool:
    """Return whether the member may decide one of these requests, and was not shown it."""
    return any(each.run.owner_id != member.pk and (each.pk, member.pk) not in seen for each in requests)


def _give_back(letter: Letter) -> None:
    for request in letter.requests:
        PersonRequest.objects.filter(pk=request, mailed_at=letter.claimed_at).update(mailed_at=None)


supervisor.add_duty(send_letters)
