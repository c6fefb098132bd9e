"""Calls through ADK's cascade: any text model, speech-to-text and text-to-speech; and the demo's."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from google.genai import types

from chat.agent.agents import catalog
from chat.agent.live.sound import VOICE_RATE, played_pieces
from chat.agent.turn.failure_codes import AgentFailure
from chat.events import COMPLETED, STOPPED
from tests.agent.calls import Caller
from tests.support.gemini import Call, Gemini, Hold, Text, questions_of
from tests.support.gemini_live import speech
from tests.support.speech import Ears, Mouth, ScriptedModel

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]
WORD_MS = 100

HEAD = """
    from google.adk.agents import Agent
    from google.adk.tools import FunctionTool, ToolContext
    from tests.support.speech import ScriptedModel
"""


@pytest.fixture
def voices(settings: Any) -> Iterator[None]:
    """Let every text model speak by the doubles."""
    settings.LIVE_MODEL, settings.LIVE_STT, settings.LIVE_TTS = (
        "",
        "tests.support.speech.Ears",
        "tests.support.speech.Mouth",
    )
    yield
    Ears.failure = Mouth.failure = None
    Mouth.seconds_a_word = 0.0
    ScriptedModel.answers.clear()
    ScriptedModel.requests.clear()


@pytest.fixture
async def caller(voices: None, parley: Any, alice: Any, settings: Any) -> Caller:
    await catalog.close()
    return await Caller.of(alice, settings.AGENT_NAME)


@pytest.fixture
def agent(voices: None, write_agents: WriteAsync, alice: Any) -> Callable[[str], Awaitable[Caller]]:
    async def make(code: str) -> Caller:
        await write_agents({"clerk/agent.py": HEAD + code})
        return await Caller.of(alice, "clerk")

    return make


def heard_at(milliseconds: int) -> Callable[[str], str]:
    """Return the whole words of a text that were heard after this time, as the doubles speak."""
    return lambda text: " ".join(text.split(" ")[: milliseconds // WORD_MS])


async def test_a_spoken_turn(caller: Caller, gemini: Gemini) -> None:
    gemini.on("What time is it?", [Text("It is "), Text("noon.")])
    async with caller.calling() as connection:
        connection.hear(speech("What time is it?"))
        turn = await caller.turn()
    assert (turn.question, turn.text, turn.end) == ("What time is it?", "It is noon.", COMPLETED)
    assert turn.audio == 3 * WORD_MS * VOICE_RATE // 1000 * 2
    assert await caller.stored(turn) == [("user", "What time is it?"), (caller.agent, "It is noon.")]
    assert turn.outcome
    usage = turn.outcome.usage
    assert (usage.calls, usage.input, usage.output, usage.total) == (1, 12, 4, 16)
    assert turn.outcome.model == "fake"


async def test_partial_transcripts_replace_each_other(caller: Caller) -> None:
    async with caller.calling() as connection:
        connection.hear(speech("One ", ends=False))
        await caller.until(lambda: caller.turns and caller.turns[0].question == "One ")
        connection.hear(speech("two"))
        turn = await caller.turn()
    assert (turn.question, caller.heard_final) == ("One two", ["One two"])


async def test_push_to_talk_ends_what_is_heard(caller: Caller) -> None:
    async with caller.calling(manual=True) as connection:
        connection.start()
        connection.hear(speech("Hello", ends=False))
        connection.end()
        turn = await caller.turn()
        connection.start()
        connection.end()
        connection.start()
        connection.hear(speech("Again", ends=False))
        connection.end()
        second = await caller.turn()
    assert [turn.question, second.question] == ["Hello", "Again"]


@pytest.mark.parametrize("words", range(9))
async def test_the_next_call_is_given_the_heard_words(words: int, caller: Caller, gemini: Gemini) -> None:
    said = "One two three. Four five six. Seven eight."
    gemini.on("Count", [Text(said)])
    caller.hears = heard_at(words * WORD_MS)
    async with caller.calling() as connection:
        connection.hear(speech("Count"))
        await caller.until(lambda: caller.turns and caller.turns[0].text == said)
        connection.hear(speech("Stop"))
        first, second = await caller.turn(1), await caller.turn(2)
    heard = " ".join(said.split(" ")[:words])
    assert (first.end, first.text) == (STOPPED, heard)
    assert await caller.stored(first) == [("user", "Count"), *([(caller.agent, heard)] if heard else [])]
    assert second.text == "You said: Stop"
    told = [("user", "Count"), *([("model", heard)] if heard else []), ("user", "Stop")]
    assert questions_of(gemini.requests[-1]) == told


async def test_typed_words_interrupt_an_answer(caller: Caller, gemini: Gemini) -> None:
    gemini.on("Count", [Text("One two three.")])
    caller.hears = heard_at(WORD_MS)
    async with caller.calling() as connection:
        connection.hear(speech("Count"))
        await caller.until(lambda: caller.turns and "three." in caller.turns[0].text)
        caller.type("Typed")
        second = await caller.turn(2)
    assert caller.turns[0].text == "One"
    assert (second.question, second.text) == ("Typed", "You said: Typed")
    assert questions_of(gemini.requests[-1]) == [("user", "Count"), ("model", "One"), ("user", "Typed")]


async def test_a_stop_ends_a_model_that_thinks(caller: Caller, gemini: Gemini) -> None:
    gemini.on("Think", [Hold()])
    async with caller.calling() as connection:
        connection.hear(speech("Think"))
        await caller.until(lambda: gemini.calls_for("Think"))
        connection.interrupt()
        first = await caller.turn(1)
        connection.hear(speech("Other"))
        second = await caller.turn(2)
    assert (first.end, first.text) == (STOPPED, "")
    assert second.text == "You said: Other"


async def test_tools_state_and_a_second_model_call(agent: Any) -> None:
    caller = await agent(
        """
    def clock(place: str, tool_context: ToolContext) -> dict:
        tool_context.state["user:city"] = place
        return {"time": "12:00"}

    root_agent = Agent(name="root_agent", model=ScriptedModel(), tools=[clock])
    """
    )
    call = types.Part(function_call=types.FunctionCall(name="clock", args={"place": "Lagos"}))
    ScriptedModel.answers["Time?"] = [[types.Part(text="I look. "), call], [types.Part(text="Noon.")]]
    async with caller.calling() as connection:
        connection.hear(speech("Time?"))
        turn = await caller.turn()
    assert await caller.stored(turn) == [
        ("user", "Time?"),
        ("root_agent", "I look. "),
        ("root_agent", "call clock"),
        ("root_agent", "result clock"),
        ("root_agent", "Noon."),
    ]
    assert turn.text == "I look. \n\nNoon."
    assert turn.outcome
    assert turn.outcome.user_state == {"city": "Lagos"}
    assert turn.outcome.usage.calls == 2
    calls = [part.function_call for part in ScriptedModel.requests[-1][-2].parts or [] if part.function_call]
    results = [p.function_response for p in ScriptedModel.requests[-1][-1].parts or [] if p.function_response]
    assert [each.id for each in calls] == [each.id for each in results] != [None]


async def test_speech_during_a_tool_interrupts_it(agent: Any) -> None:
    caller = await agent(
        """
    import asyncio

    async def slow() -> dict:
        await asyncio.sleep(0.4)
        return {"late": True}

    root_agent = Agent(name="root_agent", model=ScriptedModel(), tools=[slow])
    """
    )
    ScriptedModel.answers["Go"] = [[types.Part(function_call=types.FunctionCall(name="slow", args={}))]]
    async with caller.calling() as connection:
        connection.hear(speech("Go"))
        await caller.until(lambda: caller.turns and "tool.called" in caller.turns[0].names())
        connection.hear(speech("Other"))
        second = await caller.turn(2)
        await asyncio.sleep(0.6)
        connection.hear(speech("Third"))
        third = await caller.turn(3)
    assert [turn.end for turn in caller.turns] == [STOPPED, COMPLETED, COMPLETED]
    assert (second.text, third.text) == ("You said: Other", "You said: Third")
    assert [what for _author, what in await caller.stored(caller.turns[0])] == [
        "Go",
        "call slow",
        "result slow",
    ]
    assert not any("late" in payload for payload in await _payloads(caller))
    kinds = [
        "call" if part.function_call else "result" if part.function_response else part.text
        for content in ScriptedModel.requests[-1]
        for part in content.parts or []
    ]
    assert kinds == ["Go", "call", "result", "Other", "You said: Other", "Third"]


async def _payloads(caller: Caller) -> list[str]:
    from chat.database import run_db
    from chat.models import SessionEvent

    return await run_db(lambda: list(SessionEvent.objects.values_list("payload", flat=True)))


async def test_a_confirmation_waits_for_a_person(agent: Any) -> None:
    caller = await agent(
        """
    def transfer_money(amount: int) -> dict:
        return {"sent": amount}

    root_agent = Agent(name="root_agent", model=ScriptedModel(),
                       tools=[FunctionTool(transfer_money, require_confirmation=True)])
    """
    )
    call = types.FunctionCall(name="transfer_money", args={"amount": 5})
    ScriptedModel.answers["Pay"] = [[types.Part(function_call=call)], [types.Part(text="Please decide.")]]
    async with caller.calling() as connection:
        connection.hear(speech("Pay"))
        turn = await caller.turn()
    assert turn.text == "Please decide."
    assert turn.outcome
    assert [each.tool for each in turn.outcome.requests] == ["transfer_money"]
    told = (ScriptedModel.requests[-1][-1].parts or [])[0].function_response
    assert told and told.response and told.response["status"] == "waiting for a person"


@pytest.mark.parametrize("broken", [Ears, Mouth])
async def test_speech_that_fails_ends_its_connection_only(broken: Any, caller: Caller) -> None:
    broken.failure = ValueError("words of the member")
    failure = await caller.failure_of("Hello") if broken is Mouth else await _heard_failure(caller)
    assert failure.code in ("agent", "model_error", "internal")
    assert "words of the member" not in failure.reason
    async with caller.calling() as connection:
        connection.hear(speech("Again"))
        turn = await caller.turn()
    assert turn.text == "You said: Again"


async def _heard_failure(caller: Caller) -> AgentFailure:
    failures: list[AgentFailure] = []
    try:
        async with caller.calling() as connection:
            connection.hear(speech("Hello"))
            await caller.until(lambda: False)
    except AgentFailure as failure:
        failures.append(failure)
    return failures[0]


async def test_a_text_model_that_fails_has_its_own_code(caller: Caller, gemini: Gemini) -> None:
    from tests.support.gemini import Status

    gemini.on("Hello", [Status(429, "RESOURCE_EXHAUSTED")])
    assert (await caller.failure_of("Hello")).code == "rate_limited"


async def test_model_calls_are_limited(agent: Any, settings: Any) -> None:
    settings.MODEL_CALLS = 3
    caller = await agent(
        """
    def again() -> dict:
        return {}

    root_agent = Agent(name="root_agent", model=ScriptedModel(), tools=[again])
    """
    )
    call = types.Part(function_call=types.FunctionCall(name="again", args={}))
    ScriptedModel.answers["Go"] = [[call] for _n in range(5)]
    assert (await caller.failure_of("Go")).code == "limit"
    assert len(ScriptedModel.requests) == 3


async def test_noise_is_no_question(caller: Caller, gemini: Gemini) -> None:
    async with caller.calling() as connection:
        connection.hear(speech(""))
        connection.hear(bytes(640) * 50)
        await asyncio.sleep(0.2)
        connection.hear(speech("Words"))
        turn = await caller.turn()
    assert (len(caller.turns), turn.question) == (1, "Words")
    assert len(gemini.requests) == 1


def test_sound_comes_in_one_form() -> None:
    def pieces(data: bytes, mime: str) -> list[bytes]:
        return list(played_pieces(types.Blob(data=data, mime_type=mime)))

    second = b"\x01\x00" * 16_000
    assert sum(map(len, pieces(second, "audio/pcm;rate=16000"))) == VOICE_RATE * 2
    assert sum(map(len, pieces(b"\x01\x00" * 48_000, "audio/L16;codec=pcm;rate=48000"))) == VOICE_RATE * 2
    assert max(map(len, pieces(bytes(10 * VOICE_RATE), "audio/pcm"))) <= VOICE_RATE
    assert pieces(b"\x01\x00\x01", "audio/pcm;rate=24000") == [b"\x01\x00"]
    for mime in ("audio/mpeg", "audio/pcm;rate=1", "audio/pcm;rate=24000;channels=2"):
        with pytest.raises(AgentFailure):
            pieces(second, mime)


async def test_the_demo_speaks_and_says_that_it_is_one(parley: Any, alice: Any, settings: Any) -> None:
    settings.GOOGLE_API_KEY, settings.DEMO_DELAY_SECONDS = "", 0.001
    await catalog.close()
    caller = await Caller.of(alice, settings.AGENT_NAME)
    loud, silent = b"\x00\x20" * 320, bytes(640)
    async with caller.calling() as connection:
        for _frame in range(10):
            connection.hear(loud)
        for _frame in range(40):
            connection.hear(silent)
        await caller.until(lambda: caller.turns and "demo model" in caller.turns[0].text)
        caller.type("What is 2 + 3?")
        second = await caller.turn(2)
    assert caller.turns[0].question == "Hello, who are you?"
    assert caller.turns[0].audio > VOICE_RATE
    assert "5" in second.text
    assert [each.data["name"] for each in second.events if each.type == "tool.called"] == ["calculate"]
    await catalog.close()


async def test_stored_events_hold_no_audio_and_nothing_of_adks_live_flow(caller: Caller) -> None:
    async with caller.calling() as connection:
        connection.hear(speech("Hello"))
        await caller.turn()
    for payload in await _payloads(caller):
        event = json.loads(payload)
        assert not {"inputTranscription", "outputTranscription", "liveSessionId", "turnComplete"} & set(event)
        assert "inlineData" not in payload


async def test_a_call_of_gemini_with_tools_in_writing_too(caller: Caller, gemini: Gemini) -> None:
    gemini.on(
        "What time is it in Lagos?", [Call("current_time", {"place": "Lagos"})], [Text("It is noon there.")]
    )
    async with caller.calling() as connection:
        connection.hear(speech("What time is it in Lagos?"))
        turn = await caller.turn()
    assert turn.names() == ["tool.called", "tool.returned", "text", "text", "text", "text"]
    assert turn.text == "It is noon there."
