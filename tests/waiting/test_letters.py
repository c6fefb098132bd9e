"""Letters that something waits: who gets one, when, and how often; none has content."""

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.core import mail
from django.core.checks import run_checks
from django.db import connections
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from chat.models import Conversation, PersonRequest
from chat.pages import letters, mailing
from chat.runs.supervisor import supervisor
from tests.conftest import make_user
from tests.support.client import Client
from tests.support.gemini import Gemini, Text
from tests.support.talk import Talk
from tests.support.waiting import auntil
from tests.waiting.conftest import LEAVE, PAY, Pay

MINUTES = 10
CONTENT = ["transfer_money", "book_leave", "amount", "canary", "bank", "Finance", "alice", "carol"]


@pytest.fixture(autouse=True)
def letters_are_on(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WAITING_EMAIL_MINUTES = MINUTES
    settings.HTTPS = False
    monkeypatch.setattr(mailing, "_warned_at", [-mailing.WARNING_SECONDS])


@pytest.fixture
def quick_duty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the duty look for due letters all the time. Name it before the fixtures that start the server."""
    monkeypatch.setattr(mailing, "PAUSE_SECONDS", 0.01)


@pytest.fixture
async def dave(finance: Group) -> User:
    """Return the second member of Finance."""
    dave: User = await sync_to_async(make_user)("dave")
    await finance.user_set.aadd(dave)
    return dave


async def time_passes(minutes: int = MINUTES) -> None:
    """Let the requests that are stored now have waited so long."""
    await PersonRequest.objects.all().aupdate(asked_at=F("asked_at") - timedelta(minutes=minutes))


async def new_letters() -> list[str]:
    """Send what is due, and return the addresses of these letters."""
    before = len(mail.outbox)
    await letters.send_due_letters()
    return sorted(address for letter in mail.outbox[before:] for address in letter.to)


def assert_no_content(letter: Any) -> None:
    text = f"{letter.subject}\n{letter.body}"
    assert [word for word in CONTENT if word in text] == []


async def decide(talk: Talk, request: dict[str, Any], decision: str = "reject") -> None:
    answers = [{"id": request["id"], "decision": decision}]
    said = await talk.client.post("/chat/stream", {"conversation": talk.conversation, "answers": answers})
    assert said.status == 200, said.body
    await supervisor.idle()


async def test_the_owner_gets_a_letter_with_a_link_and_no_content(quick_duty: None, pay: Pay) -> None:
    talk, _requests = await pay(LEAVE)
    await time_passes()
    await auntil(lambda: mail.outbox)
    (letter,) = mail.outbox
    assert letter.to == ["alice@example.org"]
    assert letter.subject == "Something waits for your decision"
    assert f"http://127.0.0.1:8000/chat/{talk.conversation}/\n" in letter.body
    assert_no_content(letter)


async def test_each_approver_gets_a_letter_of_their_own(
    pay: Pay, finance: Group, dave: User, as_alice: Client, as_bob: Client, settings: Any
) -> None:
    settings.HTTPS, settings.ALLOWED_HOSTS = True, ["chat.example.org", "testserver"]
    talk, _requests = await pay(PAY)
    left = await sync_to_async(make_user)("erin", is_active=False)
    silent = await sync_to_async(User.objects.create_user)("frank", "")
    await finance.user_set.aadd(as_alice.user, left, silent)
    await time_passes()
    assert await new_letters() == ["carol@example.org", "dave@example.org"]
    for letter in mail.outbox:
        assert len(letter.to) == 1
        assert "https://chat.example.org/waiting/\n" in letter.body
        assert str(talk.conversation) not in letter.body
        assert_no_content(letter)


async def test_a_request_has_its_letter_when_the_minutes_are_over(pay: Pay) -> None:
    await pay(LEAVE)
    await time_passes(MINUTES - 1)
    assert await new_letters() == []
    await time_passes(1)
    assert await new_letters() == ["alice@example.org"]


async def test_zero_minutes_send_nothing(quick_duty: None, settings: Any, pay: Pay) -> None:
    class Zero(int):
        looks = 0

        def __bool__(self) -> bool:
            Zero.looks += 1
            return False

    settings.WAITING_EMAIL_MINUTES = Zero()
    await auntil(lambda: Zero.looks > 0)  # the pass that began with 10 has ended: it would read 0 as due now
    await pay(LEAVE)
    await time_passes()
    seen = Zero.looks
    await auntil(lambda: Zero.looks > seen + 2)
    assert mail.outbox == []


async def test_the_owner_gets_one_letter_until_they_decide(pay: Pay, gemini: Gemini) -> None:
    talk, (request,) = await pay(LEAVE)
    await time_passes()
    assert await new_letters() == ["alice@example.org"]
    await time_passes()
    assert await new_letters() == []
    await decide(talk, request)
    gemini.on("once more", [LEAVE], [Text("It is done.")])
    await talk.ask("once more")
    await time_passes()
    assert await new_letters() == ["alice@example.org"]


async def test_one_letter_is_about_all_requests_of_the_conversation(pay: Pay) -> None:
    await pay(LEAVE, LEAVE)
    assert await PersonRequest.objects.acount() == 2
    await time_passes()
    assert await new_letters() == ["alice@example.org"]
    assert not await PersonRequest.objects.filter(mailed_at=None).aexists()


async def test_an_approver_gets_one_letter_until_they_look(pay: Pay, as_carol: Client, dave: User) -> None:
    await pay(PAY)
    await time_passes()
    assert await new_letters() == ["carol@example.org", "dave@example.org"]
    await pay(PAY)
    await time_passes()
    assert await new_letters() == []
    assert (await as_carol.get("/waiting/")).status == 200
    await pay(PAY)
    await time_passes()
    assert await new_letters() == ["carol@example.org"]


async def test_an_approver_who_has_seen_the_request_gets_no_letter(
    pay: Pay, as_carol: Client, dave: User
) -> None:
    await pay(PAY)
    assert (await as_carol.get("/waiting/")).status == 200
    await time_passes()
    assert await new_letters() == ["dave@example.org"]


async def decided(talk: Talk, request: dict[str, Any]) -> None:
    await decide(talk, request)


async def lapsed(talk: Talk, request: dict[str, Any]) -> None:
    await talk.ask("Something else.")


async def expired(talk: Talk, request: dict[str, Any]) -> None:
    await PersonRequest.objects.all().aupdate(expires_at=timezone.now())


async def deleted(talk: Talk, request: dict[str, Any]) -> None:
    path = f"/api/v1/conversations/{talk.conversation}"
    assert (await talk.client.request("DELETE", path)).status == 204


async def locked(talk: Talk, request: dict[str, Any]) -> None:
    await Conversation.objects.aupdate(locked_at=timezone.now())


async def left(talk: Talk, request: dict[str, Any]) -> None:
    await User.objects.filter(pk=talk.client.user.pk).aupdate(is_active=False)


async def without_address(talk: Talk, request: dict[str, Any]) -> None:
    await User.objects.filter(pk=talk.client.user.pk).aupdate(email="")


@pytest.mark.parametrize("end", [decided, lapsed, expired, deleted, locked, left, without_address])
async def test_no_letter_for_a_request_that_no_one_can_decide(
    end: Callable[[Talk, dict[str, Any]], Awaitable[None]], pay: Pay, as_bob: Client, gemini: Gemini
) -> None:
    gemini.on("Something else.", [Text("Yes.")])
    talk, (request,) = await pay(LEAVE)
    await time_passes()
    await end(talk, request)
    assert await new_letters() == []


@pytest.mark.parametrize("call", [LEAVE, PAY], ids=["owner", "group"])
async def test_several_processes_send_one_letter(
    pay: Pay, monkeypatch: pytest.MonkeyPatch, call: Any
) -> None:
    await pay(call, call)
    await time_passes()
    (addressee,) = await sync_to_async(letters._due_addressees)()
    recipients, both_have_read = letters._recipients, threading.Barrier(2)

    def read_and_wait(*args: Any) -> list[User]:
        found = recipients(*args)
        both_have_read.wait(timeout=30)
        return found

    def claim() -> letters.Letter | None:
        try:
            return letters._claim(addressee)
        finally:
            connections.close_all()

    monkeypatch.setattr(letters, "_recipients", read_and_wait)
    claims = await asyncio.gather(asyncio.to_thread(claim), asyncio.to_thread(claim))
    (letter,) = filter(None, claims)
    assert len(letter.requests) == 2


async def test_a_request_that_is_decided_while_letters_are_made_gets_none(
    pay: Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pay(LEAVE)
    await time_passes()
    recipients = letters._recipients

    def decide_meanwhile(*args: Any) -> list[User]:
        PersonRequest.objects.update(decision="reject", decided_at=timezone.now())
        return recipients(*args)

    monkeypatch.setattr(letters, "_recipients", decide_meanwhile)
    assert await new_letters() == []


async def test_letters_wait_for_a_mail_server_that_is_away(
    pay: Pay, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    talk, (request,) = await pay(LEAVE)
    await time_passes()
    usual = settings.EMAIL_BACKEND
    with socket.socket() as closed:  # bound, and not listening
        closed.bind(("127.0.0.1", 0))
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = closed.getsockname()
        with caplog.at_level(logging.WARNING, "chat.pages.mailing"):
            await letters.send_due_letters()
            await letters.send_due_letters()
    (record,) = [record for record in caplog.records if record.name == "chat.pages.mailing"]
    assert "the mail server did not take it" in record.getMessage()
    settings.EMAIL_BACKEND = usual
    assert await new_letters() == ["alice@example.org"]
    assert await new_letters() == []
    await decide(talk, request)


async def smtp_server(refusals: dict[str, str], taken: list[str]) -> asyncio.Server:
    """Return a mail server that refuses recipients with these answers, and lists those of taken letters."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        to = ""
        while line := (await reader.readline()).decode().strip():
            answer = "250 yes"
            match line[:4].upper():
                case "RCPT":
                    to = line.split("<")[1].split(">")[0]
                    answer = refusals.get(to, answer)
                case "DATA":
                    writer.write(b"354 go on\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    taken.append(to)
                case "QUIT":
                    answer = "221 bye"
            writer.write(f"{answer}\r\n".encode())
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def test_a_refused_address_keeps_no_one_else_from_a_letter(
    pay: Pay, dave: User, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await pay(PAY)
    await time_passes()
    taken: list[str] = []
    refusals = {"carol@example.org": "550 no such user"}
    async with await smtp_server(refusals, taken) as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.sockets[0].getsockname()
        settings.EMAIL_USE_TLS, settings.EMAIL_HOST_USER = False, ""
        await letters.send_due_letters()
        await letters.send_due_letters()
    assert taken == ["dave@example.org"]
    assert "carol" not in caplog.text


async def test_a_recipient_who_is_refused_for_now_is_tried_again(
    pay: Pay, settings: Any, as_carol: Client
) -> None:
    await pay(PAY)
    await time_passes()
    taken: list[str] = []
    refusals = {"carol@example.org": "450 later"}
    async with await smtp_server(refusals, taken) as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.sockets[0].getsockname()
        settings.EMAIL_USE_TLS, settings.EMAIL_HOST_USER = False, ""
        await letters.send_due_letters()
        assert taken == []
        refusals.clear()
        await letters.send_due_letters()
        await letters.send_due_letters()
    assert taken == ["carol@example.org"]


def test_letters_without_a_mail_server_are_a_warning(settings: Any) -> None:
    def warnings() -> list[str]:
        return [str(found.hint) for found in run_checks() if found.id == "chat.W003"]

    settings.EMAIL_HOST = ""
    (hint,) = warnings()
    assert "EMAIL_HOST" in hint
    settings.EMAIL_HOST = "mail.example.org"
    assert warnings() == []
    settings.EMAIL_HOST, settings.WAITING_EMAIL_MINUTES = "", 0
    assert warnings() == []
