"""Turns of a call: what is stored of them, and what the model and the client are told."""

from typing import Any

from chat import events
from chat.agent.live.events import Heard, Shown
from chat.database import run_db
from chat.models import Conversation, Run
from tests.live.cases import spoken
from tests.live.context import context_of
from tests.live.script import Talk, heard_events, texts_of, turns_of
from tests.support.waiting import auntil


async def test_a_spoken_turn_is_a_run_with_its_question_and_its_answer(talk: Talk) -> None:
    await talk.ask_aloud("What time is it?", *spoken("It is ", "ten."))
    assert await turns_of(talk.conversation) == [("What time is it?", "completed", "", "It is ten.")]
    run = await Run.objects.aget()
    assert (run.mode, run.model, run.finish, run.usage_output) == ("live", "scripted-live", "stop", 5)
    assert await run_db(context_of, talk.conversation) == ["What time is it?", "It is ten."]
    kinds = [frame["type"] for frame in talk.listener.frames]
    assert kinds == ["ready", "run", "heard", "heard", "turn"]
    assert talk.listener.frames[1]["run"] == str(run.pk)
    assert talk.listener.audio == 2 * 100 * 48


async def test_a_hundred_spoken_turns_are_stored_in_order(talk: Talk) -> None:
    for n in range(100):
        await talk.ask_aloud(f"question {n}", *spoken(f"answer {n} ", "is this."))
    expected = [text for n in range(100) for text in (f"question {n}", f"answer {n} is this.")]
    assert await texts_of(talk.conversation) == expected
    assert await run_db(context_of, talk.conversation) == expected
    assert len(talk.model.connections) == 1


async def test_the_words_are_in_the_log_before_they_are_final(talk: Talk) -> None:
    await talk.open_connection()
    await talk.model.say(Heard("What", False))
    run = talk.listener.named("run")[0]["run"]
    assert (await turns_of(talk.conversation)) == [("", "running", "", "")]
    await talk.model.say(Heard("What time is it?", True), *spoken("Ten."))
    await talk.answered()
    assert await heard_events(run) == [
        {"text": "What", "final": False},
        {"text": "What time is it?", "final": True},
    ]
    assert await turns_of(talk.conversation) == [("What time is it?", "completed", "", "Ten.")]


async def test_the_first_spoken_words_are_the_title(talk: Talk) -> None:
    await talk.ask_aloud("What time is it?", *spoken("Ten."))
    await talk.ask_aloud("And now?", *spoken("Eleven."))
    assert (await Conversation.objects.aget()).title == "What time is it?"


async def test_a_model_may_speak_first(talk: Talk) -> None:
    await talk.open_connection()
    await talk.answered(*spoken("Hello, ", "who are you?"))
    await talk.ask_aloud("Alice.", *spoken("Hello Alice."))
    assert await turns_of(talk.conversation) == [
        ("", "completed", "", "Hello, who are you?"),
        ("Alice.", "completed", "", "Hello Alice."),
    ]
    assert await run_db(context_of, talk.conversation) == ["Hello, who are you?", "Alice.", "Hello Alice."]


async def test_words_that_come_late_complete_their_question(talk: Talk) -> None:
    await talk.open_connection()
    await talk.model.say(Heard("What ti", False), *spoken("It is "), Heard("What time is it?", True))
    await talk.answered(*spoken("ten."))
    assert await turns_of(talk.conversation) == [("What time is it?", "completed", "", "It is ten.")]
    assert talk.listener.named("heard")[-1] == {"type": "heard", "text": "What time is it?", "final": True}


async def test_typed_and_spoken_turns_mix(talk: Talk) -> None:
    await talk.ask_aloud("one", *spoken("first."))
    talk.call.read("two")
    await answer_typed(talk, "two", "second.")
    await talk.ask_aloud("three", *spoken("third."))
    expected = ["one", "first.", "two", "second.", "three", "third."]
    assert await texts_of(talk.conversation) == expected
    assert await run_db(context_of, talk.conversation) == expected


async def answer_typed(talk: Talk, text: str, answer: str) -> None:
    await auntil(lambda: talk.model.connections and f"read {text}" in talk.model.connection.wishes)
    await talk.answered(*spoken(answer))


async def test_a_typed_question_is_stored_before_the_model_is_asked(talk: Talk) -> None:
    stored: list[Any] = []
    talk.model.on_text = lambda connection, text: stored.append(
        talk.call.turn and talk.call.turn.run.prompt.text
    )
    talk.call.read("Tell me.")
    await answer_typed(talk, "Tell me.", "Yes.")
    assert stored == ["Tell me."]
    assert await turns_of(talk.conversation) == [("Tell me.", "completed", "", "Yes.")]


async def test_a_tool_call_is_shown_and_stored(talk: Talk) -> None:
    called = events.tool_called("c1", "clock", {"zone": "UTC"})
    returned = events.tool_returned("c1", "clock", result={"time": "10"}, elapsed_ms=3)
    await talk.ask_aloud("Time?", Shown([called]), Shown([returned]), *spoken("It is ten."))
    reply = (await Run.objects.select_related("reply").aget()).reply
    assert reply
    assert [item["type"] for item in reply.parts["items"]] == ["tool", "text"]
    assert reply.parts["items"][0]["result"] == {"time": "10"}


async def test_an_answer_without_words_fails_and_the_call_goes_on(talk: Talk) -> None:
    await talk.open_connection()
    await talk.answered(Heard("Hm?", True))
    await talk.ask_aloud("Again?", *spoken("Yes."))
    assert await turns_of(talk.conversation) == [
        ("Hm?", "failed", "empty", ""),
        ("Again?", "completed", "", "Yes."),
    ]
    assert talk.listener.named("error")[0]["code"] == "empty"
