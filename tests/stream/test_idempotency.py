"""Idempotency keys: one key starts one run, however often and fast it is sent."""

import asyncio
import uuid
from typing import Any

from chat.models import Conversation, Message, Run
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Text


async def test_fifty_concurrent_asks_with_one_key_start_one_run(
    as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    settings.STREAMS_PER_MEMBER = 100
    key = {"idempotency-key": str(uuid.uuid4())}
    answers = await asyncio.gather(
        *(as_alice.post("/chat/stream", {"query": "once"}, headers=key) for _ in range(50))
    )
    assert {answer.status for answer in answers} == {200}
    assert len({tuple(answer.events) for answer in answers}) == 1
    assert await Run.objects.acount() == 1
    assert await Message.objects.filter(role="user").acount() == 1
    assert await Conversation.objects.acount() == 1
    assert gemini.calls_for("once") == 1
    await oracle.acheck([answer.events for answer in answers])


async def test_fifty_concurrent_asks_in_a_conversation_with_one_key_start_one_run(
    as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    settings.STREAMS_PER_MEMBER = 100
    conversation = (await as_alice.ask("first"))[0].json()["conversation"]
    body = {"query": "once", "conversation": conversation, "client_id": str(uuid.uuid4())}
    answers = await asyncio.gather(*(as_alice.post("/chat/stream", body) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert gemini.calls_for("once") == 1
    assert await Run.objects.acount() == 2


async def test_a_key_with_another_body_is_refused(as_alice: Client) -> None:
    key = {"idempotency-key": str(uuid.uuid4())}
    await as_alice.post("/chat/stream", {"query": "one"}, headers=key)
    answer = await as_alice.post("/chat/stream", {"query": "two"}, headers=key)
    assert answer.status == 422
    assert answer.json()["error"]["code"] == "key_reused"
    assert await Run.objects.acount() == 1


async def test_the_stream_field_does_not_count_when_bodies_of_a_key_are_compared(as_alice: Client) -> None:
    key = {"idempotency-key": str(uuid.uuid4())}
    events = (await as_alice.post("/chat/stream", {"query": "one"}, headers=key)).events
    whole = await as_alice.post("/chat/stream", {"query": "one", "stream": False}, headers=key)
    assert whole.json()["run"] == events[0].json()["run"]


async def test_two_members_may_use_the_same_key(as_alice: Client, as_bob: Client) -> None:
    key = {"idempotency-key": str(uuid.uuid4())}
    one = await as_alice.post("/chat/stream", {"query": "one"}, headers=key)
    two = await as_bob.post("/chat/stream", {"query": "two"}, headers=key)
    assert one.status == two.status == 200
    assert one.events[0].run != two.events[0].run


async def test_a_known_key_is_answered_before_busy_and_limits_are_checked(
    as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    settings.RUNS_PER_MEMBER = 1
    settings.STREAMS_PER_MEMBER = 1
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    body = {"query": "slow", "client_id": str(uuid.uuid4())}
    async with as_alice.open("POST", "/chat/stream", json_body=body) as exchange:
        await exchange.until("text")
        async with as_alice.open("POST", "/chat/stream", json_body=body) as again:
            assert again.status == 200
        gemini.release()
        await exchange.all_events()


async def test_two_concurrent_asks_in_one_conversation_get_one_answer_and_one_409(
    as_alice: Client, gemini: Gemini
) -> None:
    conversation = (await as_alice.ask("first"))[0].json()["conversation"]
    for _ in range(10):
        answers = await asyncio.gather(
            *(as_alice.post("/chat/stream", {"query": q, "conversation": conversation}) for q in ("a", "b"))
        )
        assert sorted(answer.status for answer in answers) == [200, 409]
        busy = next(answer for answer in answers if answer.status == 409).json()["error"]
        done = next(answer for answer in answers if answer.status == 200).events
        assert busy["code"] == "busy"
        assert busy["run"] == done[0].run
    await oracle.acheck()
