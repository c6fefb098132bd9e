"""A suspended member asks and answers nothing until the suspension ends, and still reads everything."""

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from accounts.models import User
from chat.models import Message, QueuedAsk, Run
from chat.runs.supervisor import supervisor
from chat.runs.sweep import sweep
from tests.support.client import Answer, Client
from tests.support.gemini import Gemini, Hold, Text
from tests.support.talk import Talk


def suspend(user: Any, days: float = 1) -> None:
    User.objects.filter(pk=user.pk).update(suspended_until=timezone.now() + timedelta(days=days))


suspended = sync_to_async(suspend)


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]


@pytest.fixture
async def talk(as_alice: Client) -> Talk:
    """Return a conversation of alice with one answer."""
    talk = Talk(as_alice)
    await talk.ask("before")
    return talk


async def test_every_way_to_ask_is_refused_with_the_end_of_the_suspension(
    talk: Talk, as_alice: Client
) -> None:
    prompt = str((await Message.objects.aget(role="user")).pk)
    queued = await QueuedAsk.objects.acreate(
        conversation_id=talk.conversation or "", owner=as_alice.user, text="x", position=1
    )
    await suspended(as_alice.user)
    until = (await User.objects.aget(pk=as_alice.user.pk)).suspended_until
    assert until
    here = {"conversation": talk.conversation}
    for body in (
        {"query": "new"},
        {"query": "next", **here},
        {"query": "edited", **here, "parent": None},
        {"query": "queued", **here, "if_busy": "queue"},
        {"query": "queued", **here, "if_busy": "interrupt"},
        {"query": "whole", "stream": False},
        {"prompt": prompt},
        {**here, "answers": [{"id": prompt, "decision": "approve"}]},
    ):
        answer = await as_alice.post("/chat/stream", body)
        assert code(answer) == (403, "suspended"), body
        assert answer.json()["error"]["until"] == until.isoformat()
    assert code(await as_alice.post(f"/api/v1/queued/{queued.pk}/send", {})) == (403, "suspended")
    for path in ("/chat/", f"/chat/{talk.conversation}/", f"/chat/{talk.conversation}/{prompt}/edit/"):
        page = await as_alice.post(path, form={"query": "x"})
        assert page.status == 403, path
        assert "Your account is suspended until" in page.text
    assert await Run.objects.acount() == 1


async def test_reading_exporting_and_rating_stay(talk: Talk, as_alice: Client) -> None:
    reply = str((await Message.objects.aget(role="assistant")).pk)
    await suspended(as_alice.user)
    conversation = f"/api/v1/conversations/{talk.conversation}"
    for path in ("/", f"/chat/{talk.conversation}/", conversation, f"{conversation}/export?format=markdown"):
        assert (await as_alice.get(path)).status == 200, path
    rated = await as_alice.request("PUT", f"/api/v1/messages/{reply}/feedback", json_body={"value": 1})
    assert rated.status == 200
    async with as_alice.socket() as socket:
        await socket.opened()


async def test_an_ask_that_was_stored_before_is_found_by_its_key(as_alice: Client) -> None:
    headers = {"idempotency-key": "0190b3a0-0000-7000-8000-000000000001"}
    body = {"query": "hello", "stream": False}
    first = await as_alice.post("/chat/stream", body, headers=headers)
    await suspended(as_alice.user)
    assert (await as_alice.post("/chat/stream", body, headers=headers)).json() == first.json()


async def test_a_running_answer_stops_and_its_queue_is_withdrawn(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Text("shown"), Hold(), Text(" never")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as stream:
        started = (await stream.until("text"))[0].json()
        body = {"query": "two", "conversation": started["conversation"], "if_busy": "queue"}
        assert (await as_alice.post("/chat/stream", body)).status == 202
        await suspended(as_alice.user)
        await sweep(supervisor)
        rest = await stream.all_events()  # the sign-in stays, and so does the stream
        assert [event.name for event in rest][-2] == "run.stopped"
    await supervisor.idle()
    assert not await QueuedAsk.objects.aexists()
    assert gemini.calls_for("two") == 0


async def test_a_suspension_ends_by_itself(talk: Talk, as_alice: Client) -> None:
    await suspended(as_alice.user, -0.001)
    assert (await as_alice.post("/chat/stream", {"query": "again"})).status == 200


async def test_other_members_ask(talk: Talk, as_alice: Client, as_bob: Client) -> None:
    await suspended(as_alice.user)
    assert (await as_bob.post("/chat/stream", {"query": "hello"})).status == 200
