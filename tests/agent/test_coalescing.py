"""Chunks of a model's answer that are joined before ADK reads them, and all that must not change by it."""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from django.conf import LazySettings
from google.adk.agents import LlmAgent, RunConfig
from google.adk.agents.run_config import StreamingMode
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.models import Gemini as GeminiModel
from google.adk.runners import InMemoryRunner
from google.genai import types

from chat.agent.agents import coalescing, transport, wire
from chat.agent.agents import gemini as gemini_models
from chat.agent.agents.coalesced_models import coalesce
from chat.instruments import metrics
from chat.instruments.watchdog import Watchdog
from tests.support.campaigns import trials
from tests.support.gemini import Call, Cut, Finish, Gemini, Hold, Pause, Raw, Step, Text, encode
from tests.support.talk import Talk
from tests.support.waiting import auntil

pytestmark = pytest.mark.any_database

WIRES = trials(200, sample=60)
SIGNED = 8  # chunks of the wires that have a signature at each position in turn
AT_ONCE = 20


@pytest.fixture(params=[0.0, 0.1], ids=["no window", "100 ms"])
def any_window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    return set_window(monkeypatch, request.param)


@pytest.fixture
async def clients() -> AsyncGenerator[None, None]:
    yield
    await transport.close_clients()


def set_window(monkeypatch: pytest.MonkeyPatch, seconds: float) -> float:
    """Set the window that a process with many runs would have."""
    monkeypatch.setattr(coalescing, "window", lambda: seconds)
    return seconds


def model_at(server: Gemini) -> GeminiModel:
    return gemini_models.with_account(GeminiModel(model="gemini-2.5-flash"), {"api_key": "key"}, server.url)


async def events_of(agent: LlmAgent, question: str) -> tuple[list[Any], list[dict[str, Any]]]:
    """Return the fragments of a streamed answer, and the events that ADK stored, without ids and times."""
    runner = InMemoryRunner(agent, app_name="coalescing")
    session = await runner.session_service.create_session(app_name="coalescing", user_id="alice")
    message = types.Content(role="user", parts=[types.Part(text=question)])
    fragments = [
        event
        async for event in runner.run_async(
            user_id="alice",
            session_id=session.id,
            new_message=message,
            run_config=RunConfig(streaming_mode=StreamingMode.SSE),
        )
        if event.partial
    ]
    stored = await runner.session_service.get_session(
        app_name="coalescing", user_id="alice", session_id=session.id
    )
    assert stored
    left_out = {"id", "timestamp", "invocation_id"}
    return fragments, [each.model_dump(mode="json", exclude=left_out) for each in stored.events]


def text_of(fragments: list[Any]) -> str:
    parts = [part for event in fragments if event.content for part in event.content.parts]
    return "".join(part.text or "" for part in parts)


# --- 200 wires ------------------------------------------------------------------------------------

WORDS = ["Wind", " from the west", "\n\n", "é", "量子", " 👩‍👩‍👧", "```py\n", "a\u2028b", "e", "\u0301", " "]


def chunk_with(value: str, **part: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": value, **part}]}
    return {"candidates": [{"content": content, "index": 0}], "modelVersion": "fake", "responseId": "one"}


# Keys of the chunk, of its candidate, and of its part that must stay where they were sent.
ODD: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, {}, {"thought": True}),
    ({}, {}, {"thoughtSignature": "c2lnbmVk"}),
    ({}, {}, {"text": ""}),
    ({}, {"groundingMetadata": {"webSearchQueries": ["wind"]}}, {}),
    ({}, {"citationMetadata": {"citations": [{"uri": "https://a.example/", "startIndex": 1}]}}, {}),
    ({}, {"safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW"}]}, {}),
    ({}, {"avgLogprobs": -0.25}, {}),
    ({}, {"tokenCount": 3}, {}),
    ({"promptFeedback": {"safetyRatings": []}}, {}, {}),
]


def odd_chunk(rng: random.Random) -> dict[str, Any]:
    of_chunk, of_candidate, of_part = rng.choice(ODD)
    chunk = chunk_with(rng.choice(WORDS), **of_part) | of_chunk
    chunk["candidates"][0] |= of_candidate
    if rng.random() < 0.2:
        chunk["candidates"][0]["content"]["parts"].append({"text": " and more"})
    return chunk


def chunks_of(number: int) -> list[dict[str, Any]]:
    """Return the chunks of a wire; those of the first ones have a signature at each position in turn."""
    rng = random.Random(number)
    if number < SIGNED:
        chunks = [chunk_with(f"{index}.") for index in range(SIGNED)]
        chunks[number] = chunk_with(f"{number}.", thoughtSignature="c2lnbmVk")
    else:
        chunks = [
            chunk_with(rng.choice(WORDS)) if rng.random() < 0.7 else odd_chunk(rng)
            for _ in range(rng.randint(1, 14))
        ]
        for chunk in rng.sample(chunks, len(chunks) // 4):
            chunk["usageMetadata"] = {"promptTokenCount": 3, "candidatesTokenCount": rng.randrange(50)}
    last = chunks[-1]
    last["candidates"][0]["finishReason"] = "STOP"
    last["usageMetadata"] = {"promptTokenCount": 3, "candidatesTokenCount": 7, "totalTokenCount": 10}
    return chunks


def wire_of(number: int) -> list[Step]:
    """Return the wire as it is sent: cut anywhere, also inside characters, some pieces after a pause."""
    rng = random.Random(f"cuts {number}")
    end = rng.choice([b"\r\n\r\n", b"\n\n"])
    data = b"".join(b"data: " + encode(chunk) + end for chunk in chunks_of(number))
    cuts = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(rng.randrange(8)))})
    steps: list[Step] = []
    for begin, until in pairwise(cuts):
        steps.append(Raw(data[begin:until]))
        if rng.random() < 0.3:
            steps.append(Pause(rng.random() * 0.03))
    return steps


async def test_stored_events_are_the_same_with_a_window(
    gemini: Gemini, monkeypatch: pytest.MonkeyPatch, clients: None
) -> None:
    for number in range(WIRES):
        gemini.on(f"wire {number}", wire_of(number))
    agent = LlmAgent(name="assistant", model=model_at(gemini))
    found: list[list[Any]] = []
    fragments = []
    join_text = wire.joined
    for join, window in ((iter, 0.0), (join_text, 0.0), (join_text, 0.1)):
        monkeypatch.setattr(wire, "joined", join)
        set_window(monkeypatch, window)
        answers = []
        for begin in range(0, WIRES, AT_ONCE):
            numbers = range(begin, begin + AT_ONCE)
            answers += await asyncio.gather(*(events_of(agent, f"wire {number}") for number in numbers))
        found.append([stored for _, stored in answers])
        fragments.append(sum(len(partial) for partial, _ in answers))
        texts = ["".join(_sent_texts(number)) for number in range(WIRES)]
        assert [text_of(partial) for partial, _ in answers] == texts
    differing = [
        number for number in range(WIRES) if not found[0][number] == found[1][number] == found[2][number]
    ]
    assert differing == []
    assert fragments[2] < 0.9 * fragments[0]


def _sent_texts(number: int) -> Iterator[str]:
    for chunk in chunks_of(number):
        yield from (part["text"] for part in chunk["candidates"][0]["content"]["parts"])


# --- the wire -------------------------------------------------------------------------------------


def joined(*chunks: dict[str, Any] | bytes) -> list[Any]:
    """Return the chunks that ADK would read."""
    sent = [each if isinstance(each, bytes) else b"data: " + encode(each) + b"\r\n\r\n" for each in chunks]
    return [json.loads(event[len(b"data: ") :]) for event in wire.joined(sent)]


def test_text_is_joined_and_the_last_usage_wins() -> None:
    first = chunk_with("one ") | {"usageMetadata": {"totalTokenCount": 1}}
    second = chunk_with("two ") | {"usageMetadata": {"totalTokenCount": 2}}
    assert joined(first, second, chunk_with("three")) == [
        chunk_with("one two three") | {"usageMetadata": {"totalTokenCount": 2}}
    ]


@pytest.mark.parametrize(("of_chunk", "of_candidate", "of_part"), ODD)
def test_a_chunk_with_anything_else_is_passed_on_as_it_came(
    of_chunk: dict[str, Any], of_candidate: dict[str, Any], of_part: dict[str, Any]
) -> None:
    odd = chunk_with("x", **of_part) | of_chunk
    odd["candidates"][0] |= of_candidate
    before, sent, after = (
        b"data: " + encode(each) + b"\n\n" for each in (chunk_with("a"), odd, chunk_with("b"))
    )
    assert list(wire.joined([before, sent, after])) == [before, sent, after]


@pytest.mark.parametrize(
    "event",
    [
        b"data: [DONE]\n\n",
        b"data: {\n\n",
        b"data: \xff\n\n",
        b": comment\n\n",
        b"event: x\ndata: {}\n\n",
        b'data: "text"\n\n',
        b"data: []\n\n",
        b'data: {"candidates": ["x"]}\n\n',
        b'data: {"candidates": [{"content": {"parts": ["x"]}}]}\n\n',
        b'data: {"error": {"code": 500}}\n\n',
        b'data: {"candidates": [{"content": {"parts": [{"text": 7}]}}]}\n\n',
        b'data: {"candidates": [{"content": {"parts": [{"text": "\\ud83d"}]}}]}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
    ids=range(13),
)
def test_what_is_not_understood_is_passed_on_as_it_came(event: bytes) -> None:
    text = b"data: " + encode(chunk_with("a")) + b"\n\n"
    assert list(wire.joined([text, event, text])) == [text, event, text]


def test_chunks_of_different_candidates_or_models_are_not_joined() -> None:
    other = chunk_with("b")
    other["candidates"][0]["index"] = 1
    assert len(joined(chunk_with("a"), other)) == 2
    assert len(joined(chunk_with("a"), chunk_with("b") | {"modelVersion": "another"})) == 2


def test_events_are_found_wherever_the_bytes_are_cut() -> None:
    data = b"data: one\r\n\r\ndata: two\n\ndata: three\r\n\r\n"
    for size in range(1, len(data)):
        buffer = bytearray()
        found = []
        for begin in range(0, len(data), size):
            found += wire.take_events(buffer, data[begin : begin + size])
        assert b"".join(found) == data
        assert not buffer


# --- the transport --------------------------------------------------------------------------------


@pytest.fixture(params=["gemini", "gemini_live"], ids=["plain", "TLS"])
def server(request: pytest.FixtureRequest) -> Gemini:
    """Return a server; over TLS, each chunk is a record of its own, as Google sends them."""
    found: Gemini = request.getfixturevalue(request.param)
    return found


async def test_the_first_chunk_is_not_held(
    server: Gemini, monkeypatch: pytest.MonkeyPatch, clients: None
) -> None:
    set_window(monkeypatch, 30.0)
    server.on("first", [Text("now"), Hold()])
    stream = await client_stream(server, "first")
    assert (await asyncio.wait_for(anext(stream), 5)).text == "now"
    await stream.aclose()


async def test_no_chunk_is_held_longer_than_the_window(
    server: Gemini, monkeypatch: pytest.MonkeyPatch, clients: None
) -> None:
    set_window(monkeypatch, 0.1)
    steps: list[Step] = []
    for number in range(40):
        steps += [Text(f"{number} "), Pause(0.01)]
    server.on("paced", [*steps, Finish("STOP")])
    stream = await client_stream(server, "paced")
    times, last = [], time.monotonic()
    async for chunk in stream:
        if chunk.text:
            times.append(time.monotonic() - last)
            last = time.monotonic()
    # 0.4 s in windows of 0.1 s. Without windows there are 40 chunks, and with longer ones fewer than four.
    assert 4 <= len(times) <= 20
    assert sorted(times)[len(times) // 2] < 0.2


async def test_a_broken_connection_is_seen_after_all_that_came(
    server: Gemini, any_window: float, clients: None
) -> None:
    server.on("cut", [Text("one "), Text("two "), Text("three"), Cut()])
    stream = await client_stream(server, "cut")
    texts: list[str] = []
    with pytest.raises(httpx.RemoteProtocolError):
        await read_texts(stream, texts)
    assert "".join(texts) == "one two three"


@pytest.mark.parametrize("window", [0.0, 30.0], ids=["reading", "pausing"])
async def test_a_cancelled_reader_leaves_no_task_and_no_connection(
    server: Gemini, monkeypatch: pytest.MonkeyPatch, clients: None, window: float
) -> None:
    set_window(monkeypatch, window)
    before = asyncio.all_tasks()
    server.on("cancelled", [Text("one "), Pause(0.1), Text("two "), Hold()])
    stream = await client_stream(server, "cancelled")
    await anext(stream)
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)  # it waits now
    reader.cancel()
    await asyncio.wait([reader])
    assert asyncio.all_tasks() <= before
    [client] = transport._open
    assert client._transport._pool.connections == []  # type: ignore[attr-defined]


async def test_a_connection_is_used_again(server: Gemini, any_window: float, clients: None) -> None:
    model = model_at(server)
    for number in range(3):
        server.on(f"again {number}", [Text("a"), Text("b"), Text("c")])
        texts = [chunk.text async for chunk in await client_stream(server, f"again {number}", model)]
        assert "".join(filter(None, texts)) == "abc"
    [client] = transport._open
    [connection] = client._transport._pool.connections  # type: ignore[attr-defined]
    assert connection.is_idle()
    assert "read" not in vars(connection._connection._network_stream)


async def test_a_large_event_in_many_pieces_is_cheap(
    server: Gemini, any_window: float, clients: None
) -> None:
    picture = "A" * 2_000_000
    server.on("large", [Text("a"), Raw(b"data: " + encode(chunk_with(picture, thought=True)) + b"\n\n")])
    began = time.process_time()
    chunks = [chunk async for chunk in await client_stream(server, "large")]
    assert chunks[1].candidates[0].content.parts[0].text == picture
    assert time.process_time() - began < 5


async def read_texts(stream: Any, texts: list[str]) -> None:
    async for chunk in stream:
        texts.append(getattr(chunk, "text", ""))  # noqa: PERF401 (those before an exception count)


async def client_stream(server: Gemini, question: str, model: GeminiModel | None = None) -> Any:
    """Return the chunks that google-genai reads for this question."""
    client = (model or model_at(server)).api_client
    contents = types.Content(role="user", parts=[types.Part(text=question)])
    return await client.aio.models.generate_content_stream(model="gemini-2.5-flash", contents=[contents])


# --- other models ---------------------------------------------------------------------------------


class Scripted(BaseLlm):
    """A model of an agent's author, which yields its responses at once."""

    responses: list[Any] = []
    closed: list[str] = []

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        try:
            for response in self.responses:
                if isinstance(response, BaseException):
                    raise response
                if isinstance(response, asyncio.Event):
                    await response.wait()
                else:
                    yield response
        finally:
            self.closed.append("closed")


def fragment(text: str, **fields: Any) -> LlmResponse:
    content = types.Content(role="model", parts=[types.Part(text=text)])
    return LlmResponse(content=content, partial=True, **fields)


def coalesced_copy(*responses: Any) -> Scripted:
    """Return the copy that an agent with a model of these responses gets."""
    agent = LlmAgent(name="a", model=Scripted(model="scripted", responses=list(responses), closed=[]))
    coalesce(agent)
    assert type(agent.model) is Scripted
    return agent.model


async def answers(model: BaseLlm, *, stream: bool = True) -> list[LlmResponse]:
    return [each async for each in model.generate_content_async(LlmRequest(), stream=stream)]


async def test_fragments_of_any_model_are_joined() -> None:
    usage = types.GenerateContentResponseUsageMetadata(total_token_count=2)
    whole = LlmResponse(content=types.Content(role="model", parts=[types.Part(text="one two three")]))
    model = coalesced_copy(fragment("one "), fragment("two "), fragment("three", usage_metadata=usage), whole)
    found = await answers(model)
    assert [each.content and each.content.parts and each.content.parts[0].text for each in found] == [
        "one ",
        "two three",
        "one two three",
    ]
    assert found[1].usage_metadata == usage
    assert found[2] is whole
    assert model.closed == ["closed"]


@pytest.mark.parametrize(
    "odd",
    [
        fragment("x", error_code="SAFETY"),
        fragment("x", custom_metadata={"a": 1}),
        fragment("x", grounding_metadata=types.GroundingMetadata()),
        LlmResponse(content=types.Content(parts=[types.Part(text="x", thought=True)]), partial=True),
        LlmResponse(content=types.Content(parts=[types.Part(text="x"), types.Part(text="y")]), partial=True),
        LlmResponse(
            content=types.Content(parts=[types.Part(text="x", thought_signature=b"s")]), partial=True
        ),
        LlmResponse(partial=True),
    ],
    ids=range(7),
)
async def test_a_response_with_anything_else_stays_as_it_is(odd: LlmResponse) -> None:
    found = await answers(coalesced_copy(fragment("a"), fragment("b"), odd, fragment("c")))
    assert len(found) == 4
    assert found[2] is odd


async def test_without_streaming_a_model_answers_as_before() -> None:
    responses = [fragment("a"), fragment("b"), fragment("c")]
    assert await answers(coalesced_copy(*responses), stream=False) == responses


async def test_the_exception_of_a_model_comes_after_its_responses() -> None:
    model = coalesced_copy(fragment("a"), fragment("b"), ValueError("no"))
    texts: list[str] = []
    with pytest.raises(ValueError, match="no"):
        await read_texts(model.generate_content_async(LlmRequest(), stream=True), texts)
    assert len(texts) == 2
    assert model.closed == ["closed"]


async def test_a_model_that_is_no_longer_read_is_closed() -> None:
    model = coalesced_copy(fragment("a"), asyncio.Event(), fragment("b"))
    stream = model.generate_content_async(LlmRequest(), stream=True)
    await anext(stream)
    await stream.aclose()
    assert model.closed == ["closed"]


async def test_agents_that_share_a_model_share_its_copy() -> None:
    shared = Scripted(model="scripted")
    child = LlmAgent(name="child", model=shared)
    heir = LlmAgent(name="heir")
    root = LlmAgent(name="root", model=shared, sub_agents=[child, heir])
    coalesce(root)
    assert root.canonical_model is child.canonical_model is heir.canonical_model
    before = root.canonical_model
    coalesce(root)
    assert root.canonical_model is before
    assert shared.model_dump() == before.model_dump()


async def test_stored_events_of_any_model_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = LlmResponse(content=types.Content(role="model", parts=[types.Part(text="abc")]))
    responses = [fragment("a"), fragment("b"), fragment("c"), whole]
    plain = LlmAgent(name="a", model=Scripted(model="scripted", responses=responses))
    copied = LlmAgent(name="a", model=Scripted(model="scripted", responses=responses))
    coalesce(copied)
    set_window(monkeypatch, 0.1)
    assert (await events_of(plain, "q"))[1] == (await events_of(copied, "q"))[1]


# --- the window -----------------------------------------------------------------------------------


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_load(runs: int, late: int = 0) -> float:
        monkeypatch.setattr(metrics.active_runs, "value", runs)
        monkeypatch.setattr(metrics.loop_late_milliseconds, "value", late)
        return coalescing.window()

    return set_load


def test_there_is_no_window_with_few_runs(load: Any) -> None:
    assert load(1) == load(8) == load(8, late=5) == 0


def test_the_window_grows_with_runs_and_with_a_late_loop(load: Any) -> None:
    assert 0 < load(9) < load(20) < load(48) == load(1000) == 0.1
    assert 0 < load(1, late=20) < load(1, late=60) < load(1, late=5000) == 0.1


def test_the_window_can_be_turned_off(load: Any, settings: LazySettings) -> None:
    settings.COALESCE_SECONDS = 0
    assert load(1000, late=1000) == 0


def test_a_metric_shows_the_window(load: Any) -> None:
    load(1000)
    assert metrics.coalescing_milliseconds.now() == 100


async def test_a_blocked_loop_is_late() -> None:
    dog = Watchdog(lambda _frame: None)
    dog.start()
    try:
        time.sleep(0.6)  # noqa: ASYNC251 (the loop is to be blocked)
        await auntil(lambda: metrics.loop_late_milliseconds.now() > 20)
        await auntil(lambda: metrics.loop_late_milliseconds.now() < 20)
    finally:
        dog.stop()


async def test_an_answer_in_a_window_is_shown_and_stored_whole(
    as_alice: Any, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_window(monkeypatch, 0.1)
    words = [Text(f"word{number} ") for number in range(30)]
    gemini.on("many", [*words, Call("current_time", {"place": "Lagos"})], [Text("It is "), Text("noon.")])
    said = await Talk(as_alice).ask("many")
    assert said.end == "run.completed"
    assert said.text.startswith("".join(word.text for word in words))
    assert said.text.endswith("It is noon.")
