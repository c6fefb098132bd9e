"""Interrupted answers: the stored text is what was heard, and the next turn knows just that."""

import time

import pytest

from chat import events
from chat.agent.live.events import Audio, Heard, Interrupted, Shown
from chat.database import run_db
from chat.models import Run, RunEvent
from tests.live.campaign import batch_of_environment
from tests.live.cases import every_case, spoken
from tests.live.context import context_of
from tests.live.interruptions import interrupt_all
from tests.live.script import Talk, turns_of
from tests.support.campaigns import every_nth
from tests.support.waiting import auntil


@pytest.mark.timeout(600)
async def test_an_interruption_anywhere_keeps_what_was_heard(talk: Talk) -> None:
    batch = batch_of_environment()
    await interrupt_all(talk, every_case()[batch] if batch else every_nth(every_case(), 13))


async def test_a_client_that_never_reports_is_measured_by_the_clock(talk: Talk) -> None:
    await talk.open_connection()
    await talk.model.say(Heard("Tell me.", True), *spoken("one two three four", " five six", ms=1000))
    assert talk.call.turn
    talk.call.turn.heard_at = time.monotonic() - 0.6
    await talk.model.say(Interrupted())
    assert await turns_of(talk.conversation) == [("Tell me.", "stopped", "interrupted", "one two")]


async def test_captions_that_were_shown_and_not_heard_are_taken_back(talk: Talk) -> None:
    await talk.open_connection()
    await talk.model.say(Heard("Tell me.", True), *spoken("one ", "two ", "three "))
    talk.call.played(200)
    await talk.model.say(Interrupted())
    run = await Run.objects.aget()
    last = await RunEvent.objects.filter(run=run).order_by("-seq").values_list("type", "data").afirst()
    taken_back = await RunEvent.objects.aget(run=run, seq=run.last_seq - 1)
    assert last and last[0] == "run.stopped" and '"code": "interrupted"' in last[1]
    assert (taken_back.type, taken_back.data) == ("replace", '{"text": "one two ", "keep": 8}')


async def test_the_words_that_interrupt_are_the_next_question(talk: Talk) -> None:
    await talk.ask_aloud("one", *spoken("first."))
    await talk.model.say(Heard("two", True), *spoken("sec", "ond."), Heard("wait", False))
    talk.call.played(100)
    await talk.model.say(Interrupted(), Heard("wait, three", True), *spoken("third."))
    await talk.answered()
    expected = ["one", "first.", "two", "sec", "wait, three", "third."]
    assert await run_db(context_of, talk.conversation) == expected
    assert [turn[1] for turn in await turns_of(talk.conversation)] == ["completed", "stopped", "completed"]


async def test_a_model_that_keeps_its_context_is_told_what_was_heard(talk: Talk) -> None:
    await talk.open_connection()
    await talk.model.say(Heard("Tell me.", True), *spoken("one ", "two ", "three "))
    talk.listener.on_interrupted = lambda: talk.call.played(200)
    await talk.model.connection.interrupted()
    await auntil(lambda: talk.call.turn is None)
    assert talk.model.kept == ["one two "]
    assert [turn[3] for turn in await turns_of(talk.conversation)] == ["one two "]


async def test_a_model_may_ask_what_was_heard_after_its_interruption(talk: Talk) -> None:
    await talk.open_connection()
    await talk.model.say(Heard("Tell me.", True), *spoken("one ", "two "), Heard("wait", False))
    talk.call.played(100)
    await talk.model.say(Interrupted())
    assert await talk.model.connection.session.heard() == "one "
    await talk.model.say(Heard("wait a minute", True))
    await talk.answered(*spoken("Yes."))
    assert [turn[1] for turn in await turns_of(talk.conversation)] == ["stopped", "completed"]


async def test_no_audio_is_sent_after_an_interruption(talk: Talk) -> None:
    await talk.open_connection()
    await talk.model.say(Heard("Tell me.", True), *spoken("one "))
    talk.listener.on_interrupted = lambda: talk.model.connection.send(Audio(b"\0\0" * 480))
    before = talk.listener.audio
    talk.call.stop()
    await auntil(lambda: talk.call.turn is None)
    assert talk.listener.audio == before


async def test_an_interruption_before_the_answer_keeps_the_question(talk: Talk) -> None:
    await talk.open_connection()
    await talk.model.say(Heard("one", True), Interrupted(), Heard("two", True))
    await talk.answered(*spoken("both."))
    assert await turns_of(talk.conversation) == [
        ("one", "stopped", "interrupted", ""),
        ("two", "completed", "", "both."),
    ]


async def test_an_answer_in_writing_only_is_kept_as_it_was_shown(talk: Talk) -> None:
    await talk.open_connection()
    await talk.model.say(Heard("Tell me.", True), Shown([events.text("only "), events.text("text")]))
    await talk.model.say(Interrupted())
    assert [turn[3] for turn in await turns_of(talk.conversation)] == ["only text"]
