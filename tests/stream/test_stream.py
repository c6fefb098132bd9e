"""POST and GET /chat/stream: the wire contract of docs/streaming.md."""

import asyncio
import time
from typing import Any

import pytest

from chat.models import Conversation, Message, Run
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Text, Thought
from tests.support.sse_client import terminal_of, text_of
from tests.support.waiting import auntil

EVENT_STREAM = {"accept": "text/event-stream", "sec-fetch-site": "same-origin"}


async def test_an_answer_is_streamed_in_pieces_and_stored(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("Explain quantum computing", [Text("Quantum "), Text("computing "), Text("is odd.")])
    events = await as_alice.ask("Explain quantum computing")
    assert text_of(events) == "Quantum computing is odd."
    assert await Run.objects.values_list("status", "reply__text").aget() == (
        "completed",
        "Quantum computing is odd.",
    )
    await oracle.acheck([events])


async def test_the_streams_headers_forbid_proxies_to_buffer_it(as_alice: Client) -> None:
    answer = await as_alice.post("/chat/stream", {"query": "hello"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "private, no-store, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in answer.headers
    assert answer.body.startswith(b"retry: 2000\n")


async def test_ids_count_from_1_without_a_gap_and_done_comes_last(as_alice: Client) -> None:
    events = await as_alice.ask("hello")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert {event.run for event in events} == {events[0].json()["run"]}
    assert events[0].name == "run.started"
    assert terminal_of(events) is events[-2]
    assert events[-1].is_done
    assert events[-1].name == ""


async def test_the_first_event_names_the_run_and_its_conversation(as_alice: Client) -> None:
    started = (await as_alice.ask("What is a monad, in simple terms?"))[0].json()
    conversation = await Conversation.objects.aget()
    prompt = await Message.objects.aget(role="user")
    assert started == {
        "v": 1,
        "run": started["run"],
        "conversation": str(conversation.pk),
        "prompt": str(prompt.pk),
        "agent": "chat_assistant",
        "title": "What is a monad, in simple terms?",
    }


async def test_the_last_event_reports_usage_times_and_the_number_of_deltas(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("count", [Text("one"), Text(" two")])
    events = await as_alice.ask("count")
    end = terminal_of(events).json()
    unnamed = [e for e in events if e.is_text]
    assert end["finish"] == "stop"
    assert end["deltas"] == len(unnamed) == 2
    assert end["usage"] == {"input": 12, "output": 4, "thought": 0, "cached": 0, "total": 16, "calls": 1}
    assert 0 <= end["ttft_ms"] <= end["duration_ms"]
    assert end["message"]
    assert "code" not in end


async def test_done_means_committed(as_alice: Client) -> None:
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "hello"}) as exchange:
        end = (await exchange.until("run.completed"))[-1]
        stored = await Run.objects.aget()
        assert (stored.status, str(stored.reply_id)) == ("completed", end.json()["message"])


async def test_text_is_sent_while_the_model_still_writes(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Text("first"), Hold(), Text(" second")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        shown = (await exchange.until("text"))[-1]
        assert shown.json() == {"text": "first"}
        gemini.release()
        assert text_of([shown, *await exchange.all_events()]) == "first second"


async def test_thoughts_and_tools_are_sent_as_named_events(as_alice: Client, gemini: Gemini) -> None:
    gemini.on(
        "time in Lagos",
        [Thought("Hm. "), Text("Let me look."), Call("current_time", {"place": "Lagos"})],
        [Text("It is late.")],
    )
    events = await as_alice.ask("time in Lagos")
    names = [event.name for event in events if event.name in {"thought", "tool.called", "tool.returned"}]
    assert names == ["thought", "tool.called", "tool.returned"]
    returned = next(e for e in events if e.name == "tool.returned").json()
    assert returned["name"] == "current_time"
    assert returned["result"]["time_zone"] == "Africa/Lagos"
    assert returned["elapsed_ms"] >= 0
    assert text_of(events) == "Let me look.\n\nIt is late."
    assert [e.data for e in events if e.data == '{"text": "\\n\\n"}']  # the separator is a separate event


async def test_a_heartbeat_comment_is_sent_during_silence(
    as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    settings.STREAM_HEARTBEAT_SECONDS = 0.1
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        await exchange.until("text")
        reading = asyncio.ensure_future(exchange.all_events())
        await auntil(lambda: len(exchange.parser.comments) >= 3)
        gemini.release()
        await reading


async def test_readers_of_one_run_do_not_get_their_heartbeats_together(
    as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    """Two thousand that woke at the same moments kept other requests waiting."""
    settings.STREAM_HEARTBEAT_SECONDS = 1
    gemini.on("slow", [Text("a"), Hold(), Text("b")])

    async def seconds_of_silence(run: str) -> float:
        async with as_alice.open("GET", f"/chat/runs/{run}/events") as exchange:
            await exchange.until("text")
            began = time.monotonic()
            reading = asyncio.ensure_future(exchange.all_events())
            await auntil(lambda: bool(exchange.parser.comments))
            silence = time.monotonic() - began
            await reading
            return silence

    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        run = (await exchange.until("text"))[0].json()["run"]
        readers = [asyncio.ensure_future(seconds_of_silence(run)) for _ in range(7)]
        await asyncio.sleep(1.5)
        gemini.release()
        silences = await asyncio.gather(*readers)
    assert max(silences) - min(silences) > 0.05
    assert max(silences) < 1.3


async def test_a_run_outlives_the_connection_that_started_it(
    as_alice: Client, parley: Any, gemini: Gemini
) -> None:
    from chat.runs.supervisor import supervisor

    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        await exchange.until("text")
    gemini.release()
    await supervisor.idle()
    assert await Run.objects.values_list("status", "reply__text").aget() == ("completed", "ab")


async def test_twenty_concurrent_runs_share_commits(
    parley: Any, as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    from chat.models import RunEvent
    from chat.runs.supervisor import supervisor

    settings.LIMITS = False
    before = supervisor.journal.commits
    questions = [f"question {n}" for n in range(20)]
    for question in questions:
        gemini.on(question, [Text(f"{n} ") for n in range(30)])
    answers = await asyncio.gather(*(as_alice.ask(question) for question in questions))
    commits = supervisor.journal.commits - before
    events = await RunEvent.objects.acount()
    assert commits < events - 2 * len(questions), (commits, events)
    await oracle.acheck(answers)


# --- the tutorial's EventSource client ----------------------------------------------------------


async def test_an_event_source_can_ask_by_get(as_alice: Client) -> None:
    answer = await as_alice.get("/chat/stream?query=Hello", headers=EVENT_STREAM)
    assert answer.status == 200
    assert text_of(answer.events) == "You said: Hello"


async def test_a_reconnecting_event_source_resumes_and_does_not_ask_again(as_alice: Client) -> None:
    first = (await as_alice.get("/chat/stream?query=Hello", headers=EVENT_STREAM)).events
    cut = first[2]
    again = await as_alice.get("/chat/stream?query=Hello", headers={**EVENT_STREAM, "last-event-id": cut.id})
    assert again.events == first[3:]
    assert await Run.objects.acount() == 1


async def test_an_event_source_that_reconnects_after_done_gets_204(
    as_alice: Client,
) -> None:
    events = (await as_alice.get("/chat/stream?query=Hello", headers=EVENT_STREAM)).events
    last = {**EVENT_STREAM, "last-event-id": events[-1].id}
    assert (await as_alice.get("/chat/stream?query=Hello", headers=last)).status == 204


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"accept": "*/*"}, 406),
        ({"accept": "text/html,application/xhtml+xml"}, 406),
        ({"accept": "text/event-stream", "sec-fetch-site": "cross-site"}, 403),
        ({"accept": "text/event-stream", "sec-fetch-site": "same-site"}, 403),
        ({"accept": "text/event-stream", "sec-fetch-site": "none"}, 403),
        ({**EVENT_STREAM, "last-event-id": "garbage"}, 400),
        ({**EVENT_STREAM, "last-event-id": "01a20b9f-9cfd-71aa-b86d-6f6989e0ba81:2"}, 404),
    ],
)
async def test_a_get_that_is_not_our_event_source_starts_no_run(
    as_alice: Client, headers: dict[str, str], status: int
) -> None:
    assert (await as_alice.get("/chat/stream?query=Hello", headers=headers)).status == status
    assert await Run.objects.acount() == 0


async def test_an_empty_last_event_id_starts_a_run(as_alice: Client) -> None:
    answer = await as_alice.get("/chat/stream?query=Hello", headers={**EVENT_STREAM, "last-event-id": ""})
    assert text_of(answer.events) == "You said: Hello"


async def test_a_repeated_get_with_a_client_id_starts_one_run(as_alice: Client) -> None:
    path = "/chat/stream?query=Hello&client_id=6f0c6a52-0d6e-4a53-8e4b-7d2f3f1f0a11"
    first = await as_alice.get(path, headers=EVENT_STREAM)
    second = await as_alice.get(path, headers=EVENT_STREAM)
    assert first.events == second.events
    assert await Run.objects.acount() == 1


# --- without streaming --------------------------------------------------------------------------


async def test_the_answer_comes_once_and_complete_without_streaming(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("count", [Text("one "), Text("two")])
    answer = await as_alice.post("/chat/stream", {"query": "count", "stream": False})
    assert answer.status == 200
    body = answer.json()
    run = await Run.objects.select_related("reply").aget()
    assert body == {
        "conversation": str(run.conversation_id),
        "run": str(run.pk),
        "status": "completed",
        "code": None,
        "detail": None,
        "retryable": None,
        "message": {
            "id": str(run.reply_id),
            "role": "assistant",
            "text": "one two",
            "created_at": body["message"]["created_at"],
        },
        "usage": {"input": 12, "output": 4, "thought": 0, "cached": 0, "total": 16, "calls": 1},
    }
    assert body["message"]["created_at"].endswith("Z")
    assert run.mode == "none"
    assert "generateContent" in gemini.paths[0]
    assert "streamGenerateContent" not in gemini.paths[0]


async def test_a_run_without_streaming_can_be_followed_like_any_other(as_alice: Client) -> None:
    body = (await as_alice.post("/chat/stream", {"query": "hello", "stream": False})).json()
    events = (await as_alice.get(f"/chat/runs/{body['run']}/events")).events
    assert text_of(events) == body["message"]["text"] == "You said: hello"
