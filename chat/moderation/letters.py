"""Letters to staff about the review queue, without any content: urgent items at once, the others daily."""

import asyncio
import logging
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from chat.database import AWAY, run_db
from chat.moderation.duties import VIEW_QUEUE
from chat.moderation.models import Policy, Report, ReviewItem
from chat.moderation.policy import policy_in_force
from chat.moderation.reports import URGENT
from chat.pages import mailing
from chat.runs.supervisor import supervisor

log = logging.getLogger(__name__)

DIGEST_EVERY = timedelta(hours=24)
_TEMPLATES = "admin/moderation/letters"


@dataclass(frozen=True, slots=True)
class UrgentLetter:
    """A letter whose items are claimed by this process: no other process sends it."""

    addresses: list[str]
    items: list[uuid.UUID]
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class DigestLetter:
    """The daily letter, claimed by this process; ``before`` is the time of the last one."""

    addresses: list[str]
    count: int
    claimed_at: datetime
    before: datetime | None


async def send_staff_letters() -> None:
    """Send due letters for as long as this process serves."""
    while True:
        await asyncio.sleep(mailing.PAUSE_SECONDS)
        try:
            await send_due_staff_letters()
        except AWAY as error:
            log.warning("No letters to staff are sent: the database did not answer: %s", error)


async def send_due_staff_letters() -> None:
    """Send the letters that are due now. What the mail server did not take is due again.

    As in chat/pages/letters.py, the claim is committed before the mail server gets the letter.
    """
    if urgent := await run_db(_claim_urgent):
        facts = {"count": len(urgent.items)}
        if not await mailing.send_claimed(
            f"{_TEMPLATES}/urgent",
            reverse("review_queue"),
            facts,
            urgent.addresses,
            _give_back_urgent,
            urgent,
        ):
            return
    if digest := await run_db(_claim_digest):
        facts = {"count": digest.count}
        await mailing.send_claimed(
            f"{_TEMPLATES}/digest",
            reverse("review_queue"),
            facts,
            digest.addresses,
            _give_back_digest,
            digest,
        )


def _claim_urgent() -> UrgentLetter | None:
    """Store that a letter about the urgent items is sent, and return it; None if there are none."""
    due = list(_urgent().values_list("pk", flat=True))
    addresses = _addresses() if due else []
    if not addresses:
        return None
    now = timezone.now()
    unclaimed = ReviewItem.objects.undecided().filter(mailed_at=None)
    claimed = []
    for pk in due:  # one row a statement, as letters about requests are claimed
        if unclaimed.filter(pk=pk).update(mailed_at=now):
            claimed.append(pk)
        elif not claimed:
            return None  # the oldest decides which process has the letter
    return UrgentLetter(addresses, claimed, now)


def _urgent() -> QuerySet[ReviewItem]:
    """Return the undecided items without a letter that were reported as urgent since they were opened."""
    return ReviewItem.objects.undecided().filter(_is_urgent(), mailed_at=None).order_by("opened_at", "pk")


def _is_urgent() -> Exists:
    return Exists(
        Report.objects.filter(item=OuterRef("pk"), reason__in=URGENT, reported_at__gte=OuterRef("opened_at"))
    )


def _give_back_urgent(letter: UrgentLetter) -> None:
    for pk in letter.items:
        ReviewItem.objects.filter(pk=pk, mailed_at=letter.claimed_at).update(mailed_at=None)


def _claim_digest() -> DigestLetter | None:
    """Store that the daily letter is sent, and return it; None if it is not due."""
    now = timezone.now()
    before = policy_in_force().digest_at
    if before and before > now - DIGEST_EVERY:
        return None
    undecided = ReviewItem.objects.undecided()
    # An urgent item has its own letter first, in the next pass if it was reported since this one began, and
    # is no reason for this one on the same day.
    if not undecided.filter(
        Q(mailed_at__lte=now - DIGEST_EVERY) | Q(mailed_at=None) & ~Q(_is_urgent())
    ).exists():
        return None
    addresses = _addresses()
    if not addresses:
        return None
    Policy.objects.get_or_create(pk=1)
    if not Policy.objects.filter(pk=1, digest_at=before).update(digest_at=now):
        return None  # another process has it
    return DigestLetter(addresses, undecided.count(), now, before)


def _give_back_digest(letter: DigestLetter) -> None:
    Policy.objects.filter(pk=1, digest_at=letter.claimed_at).update(digest_at=letter.before)


def _addresses() -> list[str]:
    """Return the addresses of active staff who see the queue."""
    staff = User.objects.with_perm(VIEW_QUEUE).filter(is_active=True, is_staff=True).exclude(email="")
    return list(staff.order_by("pk").values_list("email", flat=True))


supervisor.add_duty(send_staff_letters)
