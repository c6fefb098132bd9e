"""Open streams and sockets end with the sign-in that opened them. A deactivation also stops the run."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.utils import timezone

from chat import sign_ins
from chat.models import Run
from chat.runs.supervisor import supervisor
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Text
from tests.support.sse_client import text_of
from tests.support.waiting import auntil

SIGNED_OUT = 4401


@pytest.fixture(autouse=True)
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_ins, "CHECK_SECONDS", 0.2)


def expire_session(alice: Any) -> None:
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))


def delete_session(alice: Any) -> None:
    """As ``manage.py clearsessions`` does, without a signal."""
    Session.objects.all().delete()


def change_password(alice: Any) -> None:
    alice.set_password("another horse battery")
    alice.save(update_fields=["password"])


def deactivate(alice: Any) -> None:
    type(alice).objects.filter(pk=alice.pk).update(is_active=False)


ENDS = [expire_session, delete_session, change_password, deactivate]


def test_the_end_of_a_sign_in_is_noticed_within_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert sign_ins.CHECK_SECONDS <= 5  # and the look itself


@pytest.mark.parametrize("view", ["", "?view=html"])
@pytest.mark.parametrize("end", ENDS)
async def test_a_stream_ends_with_its_sign_in(
    as_alice: Client, alice: Any, gemini: Gemini, end: Callable[[Any], None], view: str
) -> None:
    gemini.on("secret", [Text("shown"), Hold(), Text(" never shown")])
    async with as_alice.open("POST", f"/chat/stream{view}", json_body={"query": "secret"}) as asked:
        run = (await asked.until("html" if view else "text"))[0].json()["run"]
        async with as_alice.open("GET", f"/chat/runs/{run}/events{view}") as follower:
            await follower.until("html" if view else "text")
            await sync_to_async(end)(alice)
            rest = await asked.all_events() + await follower.all_events()  # ends without the model's help
        # A deactivation stops the run, too: its end may come first.
        assert {event.name for event in rest if event.data != "[DONE]"} <= {"run.stopped"}
        assert not rest or end is deactivate
        assert (await as_alice.get(f"/chat/runs/{run}/events")).status == 401
    if end is not deactivate:
        gemini.release()
    await supervisor.idle()
    status, text = await Run.objects.values_list("status", "reply__text").aget()
    assert (status, text) == (
        ("stopped", "shown") if end is deactivate else ("completed", "shown never shown")
    )


@pytest.mark.parametrize("end", ENDS)
async def test_a_socket_ends_with_its_sign_in(
    as_alice: Client, alice: Any, end: Callable[[Any], None]
) -> None:
    async with as_alice.socket() as socket:
        await socket.opened()
        assert await socket.silent(0.8)  # the sign-in was checked and is valid
        await sync_to_async(end)(alice)
        assert await socket.closed(2) == SIGNED_OUT


async def test_a_sign_out_ends_only_that_browsers_streams_and_at_once(
    as_alice: Client, as_bob: Client, parley: Any, alice: Any, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_ins, "CHECK_SECONDS", 60)  # a sign-out rings
    elsewhere = await Client(parley, alice).sign_in()
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    gemini.on("bobs", [Text("c"), Hold(), Text("d")])
    async with (
        as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as asked,
        as_bob.open("POST", "/chat/stream", json_body={"query": "bobs"}) as his,
    ):
        run = (await asked.until("text"))[0].json()["run"]
        await his.until("text")
        async with elsewhere.open("GET", f"/chat/runs/{run}/events") as there:
            await there.until("text")
            assert (await as_alice.post("/accounts/logout/")).status == 302
            assert await asked.all_events() == []
            gemini.release()
            assert text_of(await there.all_events()) == "b"
        assert text_of(await his.all_events()) == "d"


async def test_a_whole_answer_is_not_given_to_one_who_signed_out(
    as_alice: Client, alice: Any, gemini: Gemini
) -> None:
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    body = {"query": "slow", "stream": False}
    asking = asyncio.ensure_future(as_alice.post("/chat/stream", body))
    await auntil(Run.objects.filter(status="running").aexists)
    await asyncio.sleep(0.3)  # it waits for the run
    await sync_to_async(delete_session)(alice)
    answer = await asking
    assert (answer.status, answer.json()["error"]["code"]) == (401, "not_signed_in")
    gemini.release()


async def test_a_stream_outlives_what_does_not_concern_its_sign_in(
    as_alice: Client, as_bob: Client, bob: Any, alice: Any, gemini: Gemini
) -> None:
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as asked:
        await asked.until("text")
        await sync_to_async(deactivate)(bob)
        await sync_to_async(type(alice).objects.filter(pk=alice.pk).update)(first_name="Alice")
        async with as_alice.socket() as socket:
            await socket.opened()
            assert await socket.silent(0.8)
            gemini.release()
            assert text_of(await asked.all_events()) == "b"


async def test_streams_are_read_on_while_the_database_is_away(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their text is in memory; whether the sign-in still holds is looked up when the database is back."""
    from django.db import OperationalError

    looks = []

    def away(_some: Any) -> Any:
        looks.append(1)
        raise OperationalError

    monkeypatch.setattr(sign_ins, "_valid", away)
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as asked:
        await asked.until("text")
        await auntil(lambda: len(looks) > 1)
        gemini.release()
        assert text_of(await asked.all_events()) == "b"
