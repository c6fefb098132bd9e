"""``?view=html``: the page's own stream, whose text comes as the HTML that a reload would give."""

import asyncio
import json
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async

import chat.events
from chat.events import Event, Fold, encode_json
from chat.models import Message, Run, RunEvent
from chat.rendering import render
from chat.runs.supervisor import supervisor
from chat.stream import html_view
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Pause, Text, Thought
from tests.support.html_stream_client import Body, body_of
from tests.support.markdown import DOCUMENTS
from tests.support.sse_client import SseEvent, Wanted, terminal_of, text_of

EVENT_STREAM = {"accept": "text/event-stream", "sec-fetch-site": "same-origin"}
VIEW = "/chat/stream?view=html"
REPLIES = {
    "plain": "One **bold** word.",
    "code": "Look:\n\n```python\nprint('ü')\n```\n\nThat is all.",
    "a later definition": "See [later].\n\nMiddle.\n\n[later]: https://a.example/\n",
    "outside the BMP": "😀 one\n\n- 😀 two\n- 😀😀 three",
    "a formula": "$$\nx^2\n$$\n\nand $a_1$",
}


def in_pieces(text: str, size: int = 4) -> list[Text]:
    return [Text(text[at : at + size]) for at in range(0, len(text), size)]


async def ask(client: Client, query: str, **fields: Any) -> list[SseEvent]:
    answer = await client.post(VIEW, {"query": query, **fields})
    assert answer.status == 200, answer.body
    return answer.events


def seqs(events: list[SseEvent]) -> list[int]:
    return [event.seq for event in events]


def others(events: list[SseEvent]) -> list[SseEvent]:
    """Return the events that both views have."""
    return [e for e in events if (e.name or e.is_done) and e.name not in ("html", "thought")]


def thoughts_of(events: list[SseEvent]) -> list[str]:
    """Return the HTML of each thought of a connection."""
    found: list[Body] = []
    open_thought: Body | None = None
    for event in events:
        if event.name == "thought":
            if open_thought is None:
                found.append(open_thought := Body())
            open_thought.take(event.json())
        elif event.name != "tool.returned":
            open_thought = None
    return [body.html for body in found]


THOUGHT = "**Reading**\n\nIt asks for `two` things:\n\n1. this\n2. that"


@pytest.mark.parametrize("seconds", [0, 0.1])
async def test_a_thought_is_sent_as_html(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(html_view, "FRAME_SECONDS", seconds)
    pieces = [Thought(each.text) for each in in_pieces(THOUGHT)]
    gemini.on(
        "think", [*pieces, Call("calculate", {"expression": "1+1"})], [Thought("*Two*."), Text("It is 2.")]
    )
    events = await ask(as_alice, "think")
    assert thoughts_of(events) == [render(THOUGHT), render("*Two*.")]
    assert seqs(events) == sorted(seqs(events))


async def test_a_reader_that_reconnects_in_a_thought_gets_all_of_it(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("think", [Thought("**One** "), Thought("*two* "), Thought("three"), Text("So.")])
    whole = await as_alice.ask("think")
    path = f"/chat/runs/{whole[0].run}/events?view=html"
    for event in whole[:-2]:
        read = (await as_alice.get(path, headers={"last-event-id": event.id})).events
        is_done = event.seq >= [e.seq for e in whole if e.name == "thought"][-1]
        assert thoughts_of(read) == ([] if is_done else [render("**One** *two* three")])


async def test_a_long_thought_is_sent_ten_times_a_second_at_most(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("think", [step for _ in range(40) for step in (Thought("word "), Pause(0.01))] + [Text("So.")])
    events = await ask(as_alice, "think")
    assert len([e for e in events if e.name == "thought"]) < 20
    assert thoughts_of(events) == [render("word " * 40)]


async def test_text_of_this_process_is_not_decoded_from_json(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    gemini.on("slow", [Hold(), Text("said here")])
    async with as_alice.open("POST", VIEW, json_body={"query": "slow"}) as exchange:
        seen = [await anext(exchange.events())]
        monkeypatch.setattr(chat.events, "json", SimpleNamespace(dumps=json.dumps))
        gemini.release()
        async with asyncio.timeout(20):
            seen += await exchange.all_events()
    assert "said here" in body_of(seen).html


@pytest.mark.parametrize("name", REPLIES)
async def test_the_html_after_the_stream_equals_the_stored_html(
    as_alice: Client, gemini: Gemini, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_view, "FRAME_SECONDS", 0)  # each delta is shown
    monkeypatch.setattr(html_view, "IDLE_PER_RENDER", 0)
    text = REPLIES[name]
    gemini.on(name, [step for piece in in_pieces(text) for step in (piece, Pause(0.01))])
    body = body_of(await ask(as_alice, name))
    message = await Message.objects.aget(role="assistant")
    assert message.text == text
    assert body.html == message.html == render(text)


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_reading_an_ended_run_gives_the_same_html(as_alice: Client, gemini: Gemini, name: str) -> None:
    gemini.on("write", in_pieces(DOCUMENTS[name], 40))
    events = await as_alice.ask("write")
    read = (await as_alice.get(f"/chat/runs/{events[0].run}/events?view=html")).events
    assert body_of(read).html == render(DOCUMENTS[name])


async def html_events_of_a_slow_reply(client: Client, gemini: Gemini) -> list[dict[str, Any]]:
    """Return the html events of a reply whose first word comes alone, and 40 others 10 ms apart."""
    rest = [step for n in range(40) for step in (Pause(0.01), Text(f"w{n} "))]
    gemini.on("slow", [Text("first "), Hold(), *rest])
    async with client.open("POST", VIEW, json_body={"query": "slow"}) as exchange:
        seen = await exchange.until("html")
        gemini.release()
        seen += await exchange.all_events()
    shown = [event.json() for event in seen if event.name == "html"]
    assert shown[0]["open"] == '<p dir="auto">first</p>'
    return shown


async def test_the_first_text_is_sent_immediately_and_the_rest_is_throttled(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_view, "FRAME_SECONDS", 60)
    shown = await html_events_of_a_slow_reply(as_alice, gemini)
    assert len(shown) == 2  # the first word, and the whole reply at the end


async def test_expensive_replies_are_rendered_less_often(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_view, "FRAME_SECONDS", 0)
    monkeypatch.setattr(html_view, "IDLE_PER_RENDER", 1_000_000)  # a render of 0.1 ms is expensive
    assert len(await html_events_of_a_slow_reply(as_alice, gemini)) == 2


async def test_all_other_frames_are_unchanged(as_alice: Client, gemini: Gemini) -> None:
    gemini.on(
        "use", [Thought("hm"), Text("Let me see."), Call("calculate", {"expression": "1+1"})], [Text("2")]
    )
    events = await ask(as_alice, "use")
    whole = (await as_alice.get(f"/chat/runs/{events[0].run}/events")).events
    assert others(events) == others(whole)


async def test_held_text_is_sent_before_any_other_frame(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_view, "FRAME_SECONDS", 60)
    first_call: list[Any] = [Text("One. "), Hold(), Text("Two."), Call("calculate", {"expression": "1+1"})]
    gemini.on("use", first_call, [Text("Three.")])
    async with as_alice.open("POST", VIEW, json_body={"query": "use"}) as exchange:
        events = await exchange.until("html")
        gemini.release()
        events += await exchange.all_events()
    called = next(n for n, event in enumerate(events) if event.name == "tool.called")
    assert body_of(events[:called]).html == '<p dir="auto">One. Two.</p>'
    ended = events.index(terminal_of(events))
    assert body_of(events[:ended]).html == '<p dir="auto">One. Two.</p><p dir="auto">Three.</p>'


async def test_ids_never_decrease_and_an_html_event_has_the_id_of_its_last_text(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("use", [*in_pieces("```\ncode"), Call("calculate", {"expression": "1+1"})], in_pieces("```\nx"))
    events = await ask(as_alice, "use")
    assert seqs(events) == sorted(seqs(events))
    texts = [e.seq for e in (await as_alice.get(f"/chat/runs/{events[0].run}/events")).events if not e.name]
    assert {e.seq for e in events if e.name == "html"} <= set(texts)


async def test_a_reader_that_reconnects_gets_the_whole_text_first(as_alice: Client, gemini: Gemini) -> None:
    text = "# One\n\nTwo\n\n```python\nprint(3)\n```\n\n- four\n- five"
    gemini.on("write", [Thought("hm"), *in_pieces(text)])
    whole = await as_alice.ask("write")
    path = f"/chat/runs/{whole[0].run}/events?view=html"
    for event in whole[:-2]:
        read = (await as_alice.get(path, headers={"last-event-id": event.id})).events
        assert body_of(read).html == render(text)
        first = next(e for e in read if e.name == "html")
        assert (first.json()["from"], first.json()["keep"]) == (0, 0)
        assert seqs(read) == sorted(seqs(read))
        assert read[0].seq >= event.seq
        assert others(read) == [e for e in others(whole) if e.seq > event.seq]


async def test_a_reader_can_reconnect_during_the_run(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [*in_pieces("One *two* three"), Hold(), *in_pieces("\n\nfour"), Text("teen")])
    async with as_alice.open("POST", VIEW, json_body={"query": "slow"}) as first:
        seen = await first.until(shows('<p dir="auto">One <em>two</em> three</p>'))
        path = f"/chat/runs/{seen[-1].run}/events?view=html"
        async with as_alice.open("GET", path, headers={"last-event-id": seen[-1].id}) as second:
            again = [await anext(second.events())]
            assert body_of(again).html == body_of(seen).html
            gemini.release()
            seen += await first.all_events()
            again += await second.all_events()
    assert body_of(seen).html == body_of(again).html == render("One *two* three\n\nfourteen")


async def test_text_after_a_tool_call_is_not_shown_before_it(as_alice: Client, gemini: Gemini) -> None:
    """A reader that joins later does not see it early either, while other readers are ahead."""
    first: list[Any] = [Text("Let me see."), Call("calculate", {"expression": "1+1"})]
    gemini.on("use", first, [Text("It is two."), Hold(), Text(" Surely.")])
    async with as_alice.open("POST", VIEW, json_body={"query": "use"}) as ahead:
        seen = await ahead.until(shows("two"))
        path = f"/chat/runs/{seen[0].run}/events?view=html"
        async with as_alice.open("GET", path) as behind:
            late = await behind.until(shows("two"))
            called = next(n for n, event in enumerate(late) if event.name == "tool.called")
            assert body_of(late[:called]).html == '<p dir="auto">Let me see.</p>'
            gemini.release()
            late += await behind.all_events()
        seen += await ahead.all_events()
    assert body_of(late).html == body_of(seen).html == render("Let me see.\n\nIt is two. Surely.")


def shows(text: str) -> Wanted:
    """Return the condition that the body of the reply contains ``text``."""
    return lambda seen: text in body_of(seen).html


async def test_readers_that_join_at_different_times_see_the_same_html(
    as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    settings.STREAMS_PER_MEMBER = 50
    text = DOCUMENTS["llm_answer"] + "\n\n" + DOCUMENTS["tasks"]
    gemini.on("slow", [step for piece in in_pieces(text, 3) for step in (piece, Pause(0.005))])
    async with as_alice.open("POST", VIEW, json_body={"query": "slow"}) as exchange:
        run = (await exchange.until("run.started"))[0].run
        others = []
        for n in range(12):
            await asyncio.sleep(0.03)
            after = f"&after={n * 3}"
            others.append(asyncio.ensure_future(as_alice.get(f"/chat/runs/{run}/events?view=html{after}")))
        await exchange.all_events()
        for other in others:
            read = (await other).events
            assert seqs(read) == sorted(seqs(read))
            assert body_of(read).html == render(text)


async def test_a_replace_event_replaces_the_html(as_alice: Client, gemini: Gemini) -> None:
    run = await _run_with_log(
        as_alice,
        [("text", {"text": "# Old"}), ("thought", {"text": "hm"}), ("replace", {"text": "", "attempt": 2}),
         ("thought", {"text": "again"}), ("text", {"text": "New *one*"}), ("replace", {"text": "Newest"})],
    )  # fmt: skip
    events = (await as_alice.get(f"/chat/runs/{run}/events?view=html")).events
    kinds = [event.name for event in events]
    assert kinds == [
        "run.started", "html", "thought", "replace", "html", "thought", "replace", "html", "html",
        "run.completed", "",
    ]  # fmt: skip
    replaced = [events[4].json(), events[7].json()]
    assert replaced[0] == {"from": 0, "closed": [], "keep": 0, "open": ""}
    assert replaced[1] == {"from": 0, "closed": [], "keep": 0, "open": '<p dir="auto">Newest</p>'}
    assert events[8].json() == {"from": 0, "closed": ['<p dir="auto">Newest</p>'], "keep": 0, "open": ""}
    assert body_of(events).html == render("Newest")


async def _run_with_log(client: Client, rows: list[tuple[str, dict[str, Any]]]) -> str:
    """Return an ended run with ``rows`` in its log, between its first and its last event."""
    run = (await client.ask("hello"))[0].run

    def store() -> None:
        stored = RunEvent.objects.filter(run_id=run)
        last = stored.order_by("-seq").first()
        assert last is not None
        stored.exclude(type="run.started").delete()
        log = [RunEvent(run_id=run, seq=n, type=t, data=encode_json(d)) for n, (t, d) in enumerate(rows, 2)]
        end = RunEvent(run_id=run, seq=len(rows) + 2, type=last.type, data=last.data)
        RunEvent.objects.bulk_create([*log, end])
        Run.objects.filter(pk=run).update(last_seq=end.seq)
        text = Fold(Event(t, d) for t, d in rows).text
        Message.objects.filter(run__id=run).update(text=text, html=render(text))

    await sync_to_async(store)()
    return run


async def test_a_pruned_run_can_be_read_as_html(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("write", in_pieces("One **two**"))
    whole = await as_alice.ask("write")
    await RunEvent.objects.all().adelete()
    path = f"/chat/runs/{whole[0].run}/events?view=html"
    terminal = terminal_of(whole)
    read = (await as_alice.get(path)).events
    assert [event.name for event in read] == ["run.started", "html", "run.completed", ""]
    assert body_of(read).html == render("One **two**")
    rest = (await as_alice.get(path, headers={"last-event-id": f"{terminal.run}:{terminal.seq - 1}"})).events
    assert [event.name for event in rest] == ["html", "run.completed", ""]
    assert body_of(rest).html == render("One **two**")
    end = (await as_alice.get(path, headers={"last-event-id": terminal.id})).events
    assert [event.is_done for event in end] == [True]
    assert (await as_alice.get(path, headers={"last-event-id": end[0].id})).status == 204


async def test_a_stopped_reply_is_rendered_completely(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Text("```python\nprint("), Hold(), Text("1)")])
    async with as_alice.open("POST", VIEW, json_body={"query": "slow"}) as exchange:
        seen = await exchange.until(shows("print"))
        await as_alice.post(f"/chat/runs/{seen[0].run}/stop")
        seen += await exchange.all_events()
    html = body_of(seen).html
    assert html == render("```python\nprint(")
    assert 'class="copy"' in html


async def test_an_event_source_can_ask_for_html_by_get(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("hello", [Text("*hi*")])
    answer = await as_alice.get("/chat/stream?view=html&query=hello", headers=EVENT_STREAM)
    assert body_of(answer.events).html == '<p dir="auto"><em>hi</em></p>'
    again = await as_alice.get(
        "/chat/stream?view=html&query=hello", headers=EVENT_STREAM | {"last-event-id": answer.events[0].id}
    )
    assert body_of(again.events).html == '<p dir="auto"><em>hi</em></p>'


@pytest.mark.parametrize("view", ["text", "", "HTML", "html&view=html", "html%00"])
async def test_an_unknown_view_is_refused_and_stores_nothing(as_alice: Client, view: str) -> None:
    run = (await as_alice.ask("hello"))[0].run
    for answer in (
        await as_alice.post(f"/chat/stream?view={view}", {"query": "hello"}),
        await as_alice.get(f"/chat/stream?view={view}&query=hello", headers=EVENT_STREAM),
        await as_alice.get(f"/chat/runs/{run}/events?view={view}"),
    ):
        assert (answer.status, answer.json()["error"]["code"]) == (400, "malformed")
    assert await Run.objects.acount() == 1


async def test_the_view_is_not_part_of_an_idempotent_question(as_alice: Client) -> None:
    key = {"client_id": str(uuid.uuid4())}
    as_text = await as_alice.ask("hello", **key)
    as_html = await ask(as_alice, "hello", **key)
    assert as_html[0] == as_text[0]
    assert body_of(as_html).html == render(text_of(as_text))


async def test_another_member_cannot_read_the_stream(as_alice: Client, as_bob: Client) -> None:
    run = (await as_alice.ask("hello"))[0].run
    answer = await as_bob.get(f"/chat/runs/{run}/events?view=html")
    assert answer.status == 404


async def test_a_reader_that_hangs_up_leaves_nothing_in_memory(as_alice: Client, gemini: Gemini) -> None:
    """The run itself goes on to its end."""
    gemini.on("slow", [*in_pieces("one two"), Hold(), Text(" three")])
    async with as_alice.open("POST", VIEW, json_body={"query": "slow"}) as exchange:
        await exchange.until(shows("two"))
        assert len(html_view._replies) == 1
    assert not html_view._replies
    gemini.release()
    await supervisor.idle()
    assert (await Message.objects.aget(role="assistant")).text == "one two three"
    await oracle.acheck()


async def test_a_silent_run_sends_heartbeats(as_alice: Client, gemini: Gemini, settings: Any) -> None:
    settings.STREAM_HEARTBEAT_SECONDS = 0.1
    gemini.on("slow", [Text("a"), Pause(0.35), Text("b")])
    async with as_alice.open("POST", VIEW, json_body={"query": "slow"}) as exchange:
        await exchange.all_events()
        assert len(exchange.parser.comments) >= 2
