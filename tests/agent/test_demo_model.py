"""The demo model, used without a key, through the real ADK Runner and the agent's own tools."""

import asyncio
import re
import time
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from chat.agent.agents import assistant, catalog
from chat.agent.agents.tools import built_in
from chat.models import Message, Run
from chat.rendering import render
from tests.support import oracle
from tests.support.client import Client
from tests.support.files import PNG, send
from tests.support.gemini import Gemini
from tests.support.talk import Talk

pytestmark = pytest.mark.any_database


@pytest.fixture
async def talk(settings: Any, as_alice: Client) -> Talk:
    """Return alice's conversation on an installation without a key."""
    settings.GOOGLE_API_KEY = ""
    settings.DEMO_DELAY_SECONDS = 0
    await catalog.close()
    return Talk(as_alice)


async def test_the_demo_says_what_it_is_and_how_to_get_a_model(talk: Talk, gemini: Gemini) -> None:
    said = await talk.ask("Hello there")
    assert said.end == "run.completed"
    assert "demo model" in said.text and "GOOGLE_API_KEY" in said.text
    assert "Hello there" in said.text
    assert gemini.requests == []


async def test_the_demo_streams_thoughts_and_text(talk: Talk, settings: Any) -> None:
    settings.DEMO_DELAY_SECONDS = 0.03
    said = await talk.ask("Hello there")
    assert len(said.deltas()) >= 10
    assert said.thought == "No tool is needed for this. I answer by myself."
    assert said.events[1].name == "thought"
    usage = said.data["usage"]
    assert usage["calls"] == 1 and usage["input"] == 2 and usage["output"] > 50 and usage["thought"] == 10


async def test_the_demo_gives_the_same_answer_without_streaming(talk: Talk) -> None:
    streamed = await talk.ask("Hello there")
    other = Talk(talk.client)
    assert (await other.ask_whole("Hello there"))["message"]["text"] == streamed.text


async def test_the_demo_writes_markdown_with_highlighted_code(talk: Talk) -> None:
    said = await talk.ask("Write some Python, please")
    assert "```python\ndef fibonacci(n: int) -> int:" in said.text
    reply = await Message.objects.aget(role="assistant")
    assert '<figure class="code">' in reply.html and "```" not in reply.html
    assert reply.html == render(said.text)


async def test_the_program_that_the_demo_writes_runs(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    said = await talk.ask("Write some Python, please")
    (program,) = re.findall(r"```python\n(.*?)```", said.text, re.DOTALL)
    exec(program, {})
    assert capsys.readouterr().out == "[0, 1, 1, 2, 3, 5, 8, 13, 21, 34]\n"


@pytest.mark.parametrize(
    "question",
    [
        "What time is it in Lagos?",
        "what time is it in lagos right now",
        "Tell me the time in Lagos, please.",
        "What is the current time in  Lagos today?",
    ],
)
async def test_the_demo_calls_the_time_tool_and_quotes_its_result(talk: Talk, question: str) -> None:
    said = await talk.ask(question)
    (called,), (returned,) = said.named("tool.called"), said.named("tool.returned")
    assert called.json()["name"] == "current_time"
    assert called.json()["args"]["place"].casefold() == "lagos"
    answer = returned.json()["result"]
    assert answer["time_zone"] == "Africa/Lagos"
    now = datetime.now(UTC).astimezone(ZoneInfo("Africa/Lagos"))
    then = datetime.fromisoformat(f"{answer['date']}T{answer['time']}+01:00")
    assert 0 <= (now - then).total_seconds() < 120
    assert answer["time"] in said.text and answer["date"] in said.text and "Africa/Lagos" in said.text
    names = [event.name or "text" for event in said.events]
    first_of_each = list(dict.fromkeys(names))  # a thought may come in several pieces
    assert first_of_each[:4] == ["run.started", "thought", "tool.called", "tool.returned"]


async def test_the_demo_does_not_know_the_time_without_the_tool(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes from the tool, not from the model."""
    others = [tool for tool in built_in() if tool.name != "current_time"]
    monkeypatch.setattr(assistant, "built_in", lambda: others)
    await catalog.close()
    said = await talk.ask("What time is it in Lagos?")
    assert said.end == "run.completed" and not said.named("tool.called")
    assert "Africa/Lagos" not in said.text and not re.search(r"\d\d:\d\d", said.text)


async def test_the_demo_reports_a_place_that_the_tool_does_not_know(talk: Talk) -> None:
    said = await talk.ask("What time is it in Atlantis?")
    (returned,) = said.named("tool.returned")
    assert returned.json()["error"] == "No time zone is known for 'Atlantis'."
    assert returned.json()["error"] in said.text


@pytest.mark.parametrize(
    ("question", "result"),
    [("What is 12 * 34?", "408"), ("Calculate (3 + 4) * 2", "14"), ("what's 1/4", "0.25")],
)
async def test_the_demo_calls_the_tool_that_calculates(talk: Talk, question: str, result: str) -> None:
    said = await talk.ask(question)
    (returned,) = said.named("tool.returned")
    assert str(returned.json()["result"]["result"]) == result and result in said.text


@pytest.mark.parametrize(
    "question",
    [
        "What did I ask before?",
        "what did I ask before",
        "What was my previous question?",
        "what did I ask you earlier?",
        "What was my last question?",
        "What have I asked so far?",
        "Do you remember what I asked?",
        "which question did I just ask?",
    ],
)
async def test_the_demo_lists_earlier_questions(talk: Talk, question: str) -> None:
    first = await talk.ask(question)
    assert "first thing that you ask" in first.text
    await talk.ask("Is the moon made of cheese?")
    await talk.ask("What is 12 * 34?")
    said = await talk.ask(question)
    assert "2. Is the moon made of cheese?\n3. What is 12 * 34?" in said.text


async def test_the_demo_does_not_know_another_members_questions(talk: Talk, as_bob: Client) -> None:
    await talk.ask("My secret is 42.")
    said = await Talk(as_bob).ask("What did I ask before?")
    assert "first thing that you ask" in said.text and "42" not in said.text


async def test_the_demo_can_be_stopped_in_mid_reply(talk: Talk, settings: Any) -> None:
    settings.DEMO_DELAY_SECONDS = 0.05
    async with talk.client.open("POST", "/chat/stream", json_body={"query": "Hello there"}) as exchange:
        events = await exchange.until("text")
        answer = await talk.client.post(f"/chat/runs/{events[0].run}/stop")
        assert answer.json()["status"] == "stopped"
        events += await exchange.all_events()
    talk.conversation = events[0].json()["conversation"]
    status, text = await Run.objects.values_list("status", "reply__text").aget()
    assert status == "stopped"
    assert text
    assert "You said:".startswith(text[:9])
    assert len(text) < 100
    await oracle.acheck([events])
    settings.DEMO_DELAY_SECONDS = 0
    assert "1. Hello there" in (await talk.ask("What did I ask before?")).text


@pytest.mark.parametrize(
    "question",
    [
        "time in " + "word  " * 20_000,
        "time in x" + " " * 120_000 + "y",
        "calculate" + " " * 120_000 + "x",
        "time " + "in " * 40_000,
    ],
    ids=["many words", "spaces after a place", "spaces instead of a sum", "many places"],
)
async def test_a_very_long_question_is_answered_within_10_seconds(talk: Talk, question: str) -> None:
    """Only part of it is matched and quoted: each word takes time, and patterns take more."""
    began = time.monotonic()
    said = await talk.ask(question)
    assert said.end == "run.completed" and len(said.text) < 2000
    assert time.monotonic() - began < 10


async def test_one_demo_model_serves_concurrent_conversations(talk: Talk, settings: Any) -> None:
    settings.DEMO_DELAY_SECONDS = 0.01
    talks = [Talk(talk.client) for _ in range(5)]
    said = await asyncio.gather(*(each.ask(f"Question number {n}") for n, each in enumerate(talks)))
    for n, each in enumerate(said):
        assert f"Question number {n}" in each.text
        assert sum(f"Question number {m}" in each.text for m in range(5)) == 1


async def test_the_demo_draws_a_picture(talk: Talk) -> None:
    said = await talk.ask("Draw me a fish")
    file = said.named("file")[0].json()
    assert (file["name"], file["mime"], file["width"], file["height"]) == (
        "circles.png", "image/png", 640, 360,
    )  # fmt: skip
    picture = await talk.client.get(f"/files/{file['file']}/circles.png")
    assert picture.body.startswith(b"\x89PNG")


async def test_the_demo_says_that_a_file_arrived(talk: Talk) -> None:
    sent = await send(talk.client, "pixel.png", PNG)
    said = await talk.ask("What is it?", files=[sent["id"]])
    assert f"I got your file, of {len(PNG)} bytes and type `image/png`." in said.text
