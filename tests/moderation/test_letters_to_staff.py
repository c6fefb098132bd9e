"""Letters to staff about the review queue: when, to whom, how often; none has content."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core import mail
from django.db import connections
from django.utils import timezone

from accounts.models import User
from chat.models import Message
from chat.moderation import letters, review
from chat.moderation.models import Policy, ReviewItem
from chat.pages import mailing
from tests.conftest import make_user
from tests.moderation.conftest import SECRET
from tests.support.client import Client
from tests.support.talk import Talk
from tests.support.waiting import auntil

NOTE = "canary wombat"
CONTENT = [
    SECRET,
    NOTE,
    "canary",
    "alice",
    "mona",
    "stella",
    "self_harm",
    "harm",
    "illegal",
    "chat_assistant",
]
MONA, STELLA = "mona@example.org", "stella@example.org"


@pytest.fixture(autouse=True)
def no_warning_yet(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.HTTPS = False
    monkeypatch.setattr(mailing, "_warned_at", [-mailing.WARNING_SECONDS])


@pytest.fixture
def quick_duty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the duty look for due letters all the time. Name it before the fixtures that start the server."""
    monkeypatch.setattr(mailing, "PAUSE_SECONDS", 0.01)


async def report(talk: Talk, reason: str) -> None:
    """Report the newest reply of the conversation."""
    reply = await Message.objects.filter(role="assistant").order_by("created_at").alast()
    assert reply
    path = f"/api/v1/messages/{reply.pk}/report"
    answer = await talk.client.post(path, {"reason": reason, "note": NOTE})
    assert answer.status in (200, 201)


async def sent() -> list[tuple[str, str]]:
    """Send what is due, and return the address and subject of each letter."""
    before = len(mail.outbox)
    await letters.send_due_staff_letters()
    return [(letter.to[0], str(letter.subject)) for letter in mail.outbox[before:]]


URGENT, DIGEST = "A report that cannot wait", "The review queue waits"


async def a_day_passes() -> None:
    day = timedelta(hours=24)
    policy = await Policy.objects.afirst()
    if policy and policy.digest_at:
        await Policy.objects.aupdate(digest_at=policy.digest_at - day)
    async for item in ReviewItem.objects.exclude(mailed_at=None):
        await ReviewItem.objects.filter(pk=item.pk).aupdate(mailed_at=item.mailed_at and item.mailed_at - day)


@pytest.mark.parametrize("reason", ["self_harm", "illegal"])
async def test_an_urgent_report_has_its_letter_at_once_and_without_content(
    quick_duty: None, mona: Any, talk: Talk, reason: str
) -> None:
    await report(talk, reason)
    await auntil(lambda: mail.outbox)
    (letter,) = mail.outbox
    assert (letter.to, letter.subject) == ([MONA], URGENT)
    assert "1 report in the review queue cannot wait." in letter.body
    assert "http://127.0.0.1:8000/admin/moderation/\n" in letter.body
    assert [word for word in CONTENT if word in f"{letter.subject}\n{letter.body}"] == []
    assert await sent() == []
    assert await sent() == []


async def test_several_urgent_items_are_one_letter_that_counts_them(mona: Any, talk: Talk) -> None:
    await report(talk, "illegal")
    await talk.ask("another")
    await report(talk, "self_harm")
    assert await sent() == [(MONA, URGENT)]
    assert "2 reports in the review queue cannot wait." in mail.outbox[0].body


async def test_other_items_have_one_letter_a_day(mona: Any, talk: Talk) -> None:
    assert await sent() == []
    await report(talk, "wrong")
    assert await sent() == [(MONA, DIGEST)]
    body = str(mail.outbox[0].body)
    assert "1 item of the review queue is not decided." in body
    assert "/admin/moderation/\n" in body
    assert [word for word in CONTENT if word in body] == []
    await talk.ask("another")
    await report(talk, "privacy")
    assert await sent() == []
    await a_day_passes()
    assert await sent() == [(MONA, DIGEST)]
    assert "2 items of the review queue are not decided." in mail.outbox[1].body


async def test_a_day_without_undecided_items_has_no_letter(mona: Any, talk: Talk) -> None:
    await report(talk, "wrong")
    item = await ReviewItem.objects.aget()
    await sync_to_async(review.claim_item)(mona, item.pk)
    await sync_to_async(review.dismiss)(mona, item.pk)
    assert await sent() == []


async def test_an_urgent_item_that_stays_undecided_is_counted_the_next_day(mona: Any, talk: Talk) -> None:
    await report(talk, "illegal")
    assert await sent() == [(MONA, URGENT)]
    await a_day_passes()
    assert await sent() == [(MONA, DIGEST)]
    assert await sent() == []


async def test_a_new_urgent_reason_has_a_letter_and_an_old_one_has_none(mona: Any, talk: Talk) -> None:
    await report(talk, "illegal")
    assert await sent() == [(MONA, URGENT)]
    item = await ReviewItem.objects.aget()
    await sync_to_async(review.claim_item)(mona, item.pk)
    await sync_to_async(review.dismiss)(mona, item.pk)
    await report(talk, "wrong")  # opens it again
    assert await sent() == [(MONA, DIGEST)]
    await report(talk, "self_harm")
    assert await sent() == [(MONA, URGENT)]


async def test_an_urgent_report_between_the_two_claims_is_not_in_the_daily_letter(
    mona: Any, talk: Talk
) -> None:
    await report(talk, "illegal")
    assert await sync_to_async(letters._claim_digest)() is None
    assert await sent() == [(MONA, URGENT)]


@pytest.mark.parametrize(
    ("fields", "addresses"),
    [
        ({}, [MONA, STELLA]),
        ({"is_active": False}, [STELLA]),
        ({"is_staff": False}, [STELLA]),
        ({"email": ""}, [STELLA]),
    ],
)
async def test_active_staff_who_see_the_queue_get_a_letter_each(
    mona: Any, stella: Any, audrey: Any, talk: Talk, fields: dict[str, Any], addresses: list[str]
) -> None:
    await sync_to_async(make_user)("nora", is_staff=True)
    await User.objects.filter(pk=mona.pk).aupdate(**fields)
    can_see = await sync_to_async(audrey.has_perm)("moderation.view_queue")
    assert not can_see
    await report(talk, "illegal")
    assert [address for address, _subject in await sent()] == addresses
    assert all(len(letter.to) == 1 for letter in mail.outbox)


async def test_without_anybody_to_send_it_to_a_letter_stays_due(talk: Talk) -> None:
    await report(talk, "illegal")
    assert await sent() == []
    await sync_to_async(make_user)("olga", is_staff=True, is_superuser=True)
    assert await sent() == [("olga@example.org", URGENT)]


@pytest.mark.parametrize(("reason", "subject"), [("illegal", URGENT), ("wrong", DIGEST)])
async def test_letters_wait_for_a_mail_server_that_is_away(
    mona: Any, talk: Talk, settings: Any, caplog: pytest.LogCaptureFixture, reason: str, subject: str
) -> None:
    await report(talk, reason)
    usual = settings.EMAIL_BACKEND
    with socket.socket() as closed:  # bound, and not listening
        closed.bind(("127.0.0.1", 0))
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = closed.getsockname()
        with caplog.at_level(logging.WARNING, "chat.pages.mailing"):
            await letters.send_due_staff_letters()
            await letters.send_due_staff_letters()
    (record,) = [record for record in caplog.records if record.name == "chat.pages.mailing"]
    assert "the mail server did not take it" in record.getMessage()
    settings.EMAIL_BACKEND = usual
    assert await sent() == [(MONA, subject)]
    assert await sent() == []


async def test_a_claim_is_given_back_only_by_the_process_that_has_it(mona: Any, talk: Talk) -> None:
    await report(talk, "illegal")
    await a_day_passes()
    urgent = await sync_to_async(letters._claim_urgent)()
    assert urgent
    now = timezone.now() + timedelta(seconds=1)
    await ReviewItem.objects.aupdate(mailed_at=now)
    await sync_to_async(letters._give_back_urgent)(urgent)
    assert (await ReviewItem.objects.aget()).mailed_at == now


@pytest.mark.parametrize(
    ("reason", "claim"), [("illegal", letters._claim_urgent), ("wrong", letters._claim_digest)]
)
async def test_several_processes_send_one_letter(
    mona: Any, talk: Talk, monkeypatch: pytest.MonkeyPatch, reason: str, claim: Callable[[], Any]
) -> None:
    """Both have read what is due before one of them claims it."""
    await report(talk, reason)
    both_have_read, addresses = threading.Barrier(2), letters._addresses

    def read_and_wait() -> list[str]:
        found = addresses()
        both_have_read.wait(timeout=30)
        return found

    def claim_once() -> Any:
        try:
            return claim()
        finally:
            connections.close_all()

    monkeypatch.setattr(letters, "_addresses", read_and_wait)
    claims = await asyncio.gather(asyncio.to_thread(claim_once), asyncio.to_thread(claim_once))
    assert len([each for each in claims if each]) == 1


async def test_an_item_that_is_decided_while_letters_are_made_gets_none(
    mona: Any, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await report(talk, "illegal")
    addresses = letters._addresses

    def decide_meanwhile() -> list[str]:
        ReviewItem.objects.update(status="dismissed", decided_at=timezone.now())
        return addresses()

    monkeypatch.setattr(letters, "_addresses", decide_meanwhile)
    assert await sent() == []


async def test_an_appeal_is_in_the_daily_letter(mona: Any, talk: Talk, as_alice: Client) -> None:
    await report(talk, "illegal")
    assert await sent() == [(MONA, URGENT)]
    item = await ReviewItem.objects.aget()
    await sync_to_async(review.claim_item)(mona, item.pk)
    (decision,) = await sync_to_async(review.act)(mona, item.pk, ["hide"], reason="illegal")
    answer = await as_alice.post(f"/api/v1/decisions/{decision.pk}/appeal", {"text": NOTE})
    assert answer.status == 201
    assert await sent() == [(MONA, DIGEST)]
