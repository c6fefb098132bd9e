"""GET /chat/runs/<run>/events from any event on, during the run and after it; and resumed questions."""

import asyncio
import uuid
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from chat.models import Run, RunEvent
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Text, Thought
from tests.support.sse_client import text_of
from tests.support.waiting import auntil


def events_path(run: str, after: str = "") -> str:
    return f"/chat/runs/{run}/events{after}"


async def test_a_stream_resumes_exactly_after_any_event_of_twenty_replies(
    as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    settings.LIMITS = False
    for n in range(20):
        question = f"reply {n}"
        words = [Text(f"{n}-{word} ") for word in range(2 + n)]
        gemini.on(question, [Thought("hm"), *words[:1], Call("calculate", {"expression": "1+1"})], words)
        whole = await as_alice.ask(question)
        for cut, event in enumerate(whole[:-1], 1):
            resumed = await as_alice.get(events_path(event.run), headers={"last-event-id": event.id})
            assert resumed.events == whole[cut:]
    await oracle.acheck()


async def test_following_from_the_start_repeats_every_byte(as_alice: Client) -> None:
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "hello"}) as exchange:
        whole = await exchange.all_events()
        live = exchange.body
    assert (await as_alice.get(events_path(whole[0].run))).body == live


async def test_concurrent_readers_see_the_same_events(
    as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    settings.STREAMS_PER_MEMBER = 50
    gemini.on("slow", [Text("a"), Hold(), *[Text(f" {n}") for n in range(50)]])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        seen = await exchange.until("text")
        async with AsyncExitStack() as stack:
            followers = [as_alice.open("GET", events_path(seen[0].run)) for _ in range(10)]
            others = [await stack.enter_async_context(follower) for follower in followers]
            begun = [await other.until("text") for other in others]
            gemini.release()
            seen += await exchange.all_events()
            for other, first in zip(others, begun, strict=True):
                assert first + await other.all_events() == seen


@pytest.mark.parametrize(
    "last_event_id",
    ["garbage", "-1", "7", "{run}:-1", "{run}:1e3", "{run}:1_0", "{run}:٣", "{run}: 2", "{run}:2;DROP",
     "{other}:2", "{run}:99", "{run}:" + "9" * 30, "x" * 8000, "{upper}:2", "{run}:"],
)  # fmt: skip
async def test_a_malformed_id_or_one_ahead_of_the_log_starts_from_the_beginning(
    as_alice: Client, gemini: Gemini, last_event_id: str
) -> None:
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        first, *_rest = await exchange.until("text")
        named = last_event_id.replace("{run}", first.run).replace("{other}", str(uuid.uuid4()))
        named = named.replace("{upper}", first.run.upper())
        async with as_alice.open("GET", events_path(first.run), headers={"last-event-id": named}) as follower:
            assert follower.status == 200
            assert await anext(follower.events()) == first
        gemini.release()
        await exchange.all_events()


async def test_the_after_parameter_can_replace_the_header(as_alice: Client) -> None:
    whole = await as_alice.ask("hello")
    assert (await as_alice.get(events_path(whole[0].run, "?after=2"))).events == whole[2:]


async def test_the_header_wins_over_the_after_parameter(as_alice: Client) -> None:
    whole = await as_alice.ask("hello")
    path = events_path(whole[0].run, "?after=1")
    assert (await as_alice.get(path, headers={"last-event-id": whole[2].id})).events == whole[3:]


async def test_done_is_still_sent_after_the_terminal_event(as_alice: Client) -> None:
    whole = await as_alice.ask("hello")
    resumed = await as_alice.get(events_path(whole[0].run), headers={"last-event-id": whole[-2].id})
    assert resumed.events == whole[-1:]


@pytest.mark.parametrize("ahead", [0, 1, 1000])
async def test_following_from_done_on_answers_204(as_alice: Client, ahead: int) -> None:
    done = (await as_alice.ask("hello"))[-1]
    header = {"last-event-id": f"{done.run}:{done.seq + ahead}"}
    answer = await as_alice.get(events_path(done.run), headers=header)
    assert (answer.status, answer.body) == (204, b"")


async def test_a_pruned_run_consists_of_its_start_text_and_end(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("count", [Text(f"{n} ") for n in range(9)])
    whole = await as_alice.ask("count")
    await RunEvent.objects.all().adelete()
    left = (await as_alice.get(events_path(whole[0].run))).events
    assert [event.name for event in left] == ["run.started", "", "run.completed", ""]
    assert [event.seq for event in left] == [1, whole[-1].seq - 2, whole[-1].seq - 1, whole[-1].seq]
    assert left[0] == whole[0]
    assert left[2] == whole[-2]
    assert text_of(left) == text_of(whole)
    for seen, event in enumerate(left[1:], 2):
        resumed = await as_alice.get(events_path(event.run), headers={"last-event-id": event.id})
        assert (resumed.status, resumed.events) == (204 if event.is_done else 200, left[seen:])
    early = await as_alice.get(events_path(whole[0].run), headers={"last-event-id": whole[1].id})
    assert early.events == left


async def test_the_streams_of_a_member_are_limited(as_alice: Client, gemini: Gemini, settings: Any) -> None:
    settings.STREAMS_PER_MEMBER = 2
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        event = (await exchange.until("text"))[-1]
        path = events_path(event.run)
        async with as_alice.open("GET", path) as second:
            await anext(aiter(second.chunks()))
            refused = await as_alice.get(path)
            assert refused.status == 429
            assert int(refused.headers["retry-after"]) >= 1
            resuming = {"accept": "text/event-stream", "last-event-id": event.id}
            assert (await as_alice.get("/chat/stream", headers=resuming)).status == 429
        async with as_alice.open("GET", path) as third:
            assert third.status == 200
        gemini.release()
        await exchange.all_events()


async def test_a_reader_that_gets_no_doorbell_polls_the_log(
    as_alice: Client, alice: Any, settings: Any
) -> None:
    """Another process executes the run: no doorbell rings here, and the log is read all the same."""
    from chat import lifecycle
    from chat.actions import Ask, send_message
    from chat.endings import End
    from chat.events import COMPLETED, Fold, text
    from chat.runs.supervisor import supervisor

    supervisor.draining = True  # this process claims no run by itself
    asked = await sync_to_async(send_message)(alice, Ask(query="elsewhere"), agents=["chat_assistant"])
    async with as_alice.open("GET", events_path(str(asked.pk))) as exchange:
        await exchange.until("run.started")
        assert supervisor.id
        claimed = await sync_to_async(lifecycle.claim)(asked.pk, supervisor.id)
        assert claimed
        said = text("from elsewhere")
        outcome = lifecycle.Outcome(End(COMPLETED, finish="stop"))
        await sync_to_async(lifecycle.end)(claimed[0], outcome, Fold([said]), [said])
        async with asyncio.timeout(5):
            assert text_of(await exchange.all_events()) == "from elsewhere"
    supervisor.draining = False
    assert await Run.objects.filter(status="completed").acount() == 1


# --- resuming a question ------------------------------------------------------------------------

ACCEPT = {"accept": "text/event-stream"}


async def resume(client: Client, method: str, last_id: str, **fields: Any) -> Any:
    """Repeat the request after a cut as a client does, question included."""
    headers = {**ACCEPT, "last-event-id": last_id}
    if method == "GET":
        return await client.get("/chat/stream?query=hello", headers=headers)
    return await client.post("/chat/stream", {"query": "hello", **fields}, headers=headers)


async def test_a_repeated_post_resumes_and_starts_no_run(as_alice: Client, gemini: Gemini) -> None:
    whole = await as_alice.ask("hello")
    for cut, event in enumerate(whole[:-1], 1):
        assert (await resume(as_alice, "POST", event.id)).events == whole[cut:]
    assert await Run.objects.acount() == 1
    assert gemini.calls_for("hello") == 1


async def test_a_post_resumes_an_active_run(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        event = (await exchange.until("text"))[-1]
    resuming = asyncio.ensure_future(resume(as_alice, "POST", event.id))
    gemini.release()
    assert text_of((await resuming).events) == "b"
    assert gemini.calls_for("slow") == 1


@pytest.mark.parametrize("fields", [{"stream": False}, {"nonsense": 1}, {"query": ""}])
async def test_the_body_of_a_resuming_post_is_ignored(as_alice: Client, fields: dict[str, Any]) -> None:
    whole = await as_alice.ask("hello")
    assert (await resume(as_alice, "POST", whole[1].id, **fields)).events == whole[2:]
    assert await Run.objects.acount() == 1


async def test_a_form_with_last_event_id_resumes(as_alice: Client) -> None:
    whole = await as_alice.ask("hello")
    answer = await as_alice.post(
        "/chat/stream", form={"query": "hello"}, headers={"last-event-id": whole[0].id}
    )
    assert answer.events == whole[1:]
    assert await Run.objects.acount() == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "last_id", ["garbage", "7", "{run}", "{run}:-1", "{run}:1e3", "{run}:", "{upper}:2", "x" * 8000]
)
async def test_a_resume_from_a_malformed_id_is_refused(as_alice: Client, method: str, last_id: str) -> None:
    run = (await as_alice.ask("hello"))[0].run
    named = last_id.replace("{run}", run).replace("{upper}", run.upper())
    assert (await resume(as_alice, method, named)).status == 400
    assert await Run.objects.acount() == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_resume_of_another_members_run_is_refused(
    as_alice: Client, as_bob: Client, method: str
) -> None:
    run = (await as_alice.ask("hello"))[0].run
    answers = [await resume(as_bob, method, f"{named}:2") for named in (run, uuid.uuid4())]
    assert [answer.status for answer in answers] == [404, 404]
    assert answers[0].body == answers[1].body
    assert await Run.objects.acount() == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("ahead", [0, 1, 1000, 9_999_990_000])
async def test_a_resume_from_done_on_answers_204(as_alice: Client, method: str, ahead: int) -> None:
    done = (await as_alice.ask("hello"))[-1]
    answer = await resume(as_alice, method, f"{done.run}:{done.seq + ahead}")
    assert (answer.status, answer.body) == (204, b"")
    assert await Run.objects.acount() == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_empty_last_event_id_starts_a_run(as_alice: Client, method: str) -> None:
    assert (await resume(as_alice, method, " ")).status == 200
    assert await Run.objects.acount() == 1


async def test_a_post_without_csrf_token_does_not_resume(as_alice: Client) -> None:
    event = (await as_alice.ask("hello"))[0]
    headers = {"last-event-id": event.id}
    assert (await as_alice.post("/chat/stream", {"query": "x"}, headers=headers, csrf=False)).status == 403


@pytest.mark.parametrize("char", ["\x85", "\u2028", "\u2029"])
async def test_unicode_line_ends_are_escaped_in_data(as_alice: Client, gemini: Gemini, char: str) -> None:
    said = f"é{char}😀{char}"
    call = Call("calculate", {"expression": char})
    gemini.on(f"split{char}", [Thought(char), Text(said), call], [Text("done")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": f"split{char}"}) as exchange:
        seen = await exchange.all_events()
    assert text_of(seen) == f"{said}\n\ndone"
    assert exchange.body.decode().splitlines() == exchange.body.decode().split("\n")[:-1]
    assert await Run.objects.values_list("reply__text", flat=True).aget() == f"{said}\n\ndone"


async def test_the_end_of_a_run_rings_for_readers_in_other_processes(
    as_alice: Client, gemini: Gemini, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the ring, they would find the terminal event at their next poll, up to 1 s later."""
    from chat import doorbell
    from chat.database import run_db
    from chat.models import Run

    settings.REDIS_URL = settings.REDIS_URL or "redis://not-used"
    had_ended: list[bool] = []

    async def ring(names: Iterable[str]) -> None:
        ended = Run.objects.filter(pk__in=[n for n in names if len(n) == 36]).exclude(ended_at=None)
        had_ended.append(await run_db(ended.exists))

    monkeypatch.setattr(doorbell, "ring", ring)
    gemini.on("Hello", [Text("Hi")])
    await as_alice.post("/chat/stream", {"query": "Hello"})
    await auntil(lambda: True in had_ended, 5)  # the ring may come just after the response
