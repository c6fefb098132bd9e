"""Calls: stops, failures, limits, clients that leave and come back, and processes that end."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.db import transaction
from django.utils import timezone

from chat import actions, events, hooks, refusals
from chat.agent.live.events import Audio, Handle, Heard, Interrupted, Shown, TurnComplete
from chat.agent.live.voices import NoVoice, Voice
from chat.agent.turn.failure_codes import AgentFailure
from chat.calls import keeping
from chat.calls.closing import CallEnd, CallRefused
from chat.calls.models import LiveCall
from chat.database import run_db
from chat.live import call as live_call
from chat.live import registry
from chat.models import Conversation, Process, Run
from chat.moderation import hiding
from chat.runs.supervisor import supervisor
from tests.live.cases import spoken
from tests.live.context import context_of
from tests.live.script import (
    Listener,
    Model,
    Talk,
    heard_events,
    open_talk,
    talk_in,
    texts_of,
    turns_of,
)
from tests.live.test_live_runs import left_behind
from tests.support.client import Client
from tests.support.waiting import auntil

StartTalk = Callable[[], Awaitable[Talk]]


async def in_an_answer(talk: Talk, question: str = "Tell me.") -> Run:
    """Let the model begin a long answer, of which 200 ms were heard."""
    await talk.open_connection()
    await talk.model.say(Heard(question, True), *spoken("one ", "two ", "three "))
    talk.call.played(200)
    assert talk.call.turn
    return talk.call.turn.run


async def until_between_turns(talk: Talk) -> None:
    await auntil(lambda: talk.call.turn is None)


# --- stops ---------------------------------------------------------------------------------------


async def test_a_stop_interrupts_a_model_that_can_be_told(talk: Talk) -> None:
    await in_an_answer(talk)
    talk.call.stop()
    await until_between_turns(talk)
    assert talk.model.connection.wishes == ["interrupt"]
    assert await turns_of(talk.conversation) == [("Tell me.", "stopped", "interrupted", "one two ")]


async def test_a_stop_of_an_automatic_model_opens_a_connection_that_knows_what_was_heard(talk: Talk) -> None:
    talk.call.voice = cast(Voice, SimpleNamespace(kind="native"))
    await in_an_answer(talk)
    talk.call.stop()
    await until_between_turns(talk)
    assert talk.model.connection.wishes == ["close"]
    await talk.ask_aloud("And then?", *spoken("Then."))
    assert talk.model.connection.session.told == ["Tell me.", "one two "]
    assert talk.model.connection.handle is None


async def test_a_model_that_does_not_obey_is_left(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.live.call.INTERRUPT_SECONDS", 0.05)
    talk.model.obeys = False
    await in_an_answer(talk)
    talk.call.stop()
    await until_between_turns(talk)
    assert talk.model.connection.wishes == ["interrupt", "close"]
    assert (await turns_of(talk.conversation))[0][3] == "one two "


async def test_a_stop_over_http_ends_the_turn_and_not_the_call(talk: Talk, as_alice: Client) -> None:
    run = await in_an_answer(talk)
    answer = await as_alice.post(f"/chat/runs/{run.pk}/stop")
    assert answer.status in (200, 202)
    await until_between_turns(talk)
    assert await turns_of(talk.conversation) == [("Tell me.", "stopped", "", "one two ")]
    await talk.ask_aloud("And then?", *spoken("Then."))
    assert (await turns_of(talk.conversation))[1][1] == "completed"


async def test_a_moderators_stop_has_its_code(talk: Talk) -> None:
    run = await in_an_answer(talk)
    stop = {"stop_requested_at": timezone.now(), "stop_code": "moderated"}
    await Run.objects.filter(pk=run.pk).aupdate(**stop)
    await until_between_turns(talk)
    assert await turns_of(talk.conversation) == [("Tell me.", "stopped", "moderated", "one two ")]


async def test_a_question_that_a_moderator_hides_leaves_no_word(talk: Talk, mona: Any) -> None:
    run = await in_an_answer(talk, "Tell me zzquestion.")
    await auntil(lambda: heard_events(run.pk))

    def hide() -> None:
        with transaction.atomic():
            conversation = Conversation.objects.select_for_update().get()
            prompt = run.prompt
            prompt.conversation = conversation
            hiding.hide(prompt, "abuse", "")

    await run_db(hide)
    await until_between_turns(talk)
    assert await heard_events(str(run.pk)) == [{"text": "", "final": True}]
    assert (await texts_of(talk.conversation))[0] == ""
    assert "zzquestion" not in str(await run_db(context_of, talk.conversation))
    await talk.ask_aloud("And then?", *spoken("Then."))


async def test_a_deleted_conversation_ends_its_turn(talk: Talk) -> None:
    await in_an_answer(talk)

    def delete() -> None:
        with transaction.atomic():
            actions.mark_deleted(Conversation.objects.select_for_update().get())

    await run_db(delete)
    await until_between_turns(talk)
    assert (await turns_of(talk.conversation))[0][1:3] == ("stopped", "deleted")
    await talk.model.say(Heard("Hello?", True))
    assert await talk.call.run() == 4404


# --- typed words, push to talk -------------------------------------------------------------------


async def test_typed_words_interrupt_an_answer(talk: Talk) -> None:
    await in_an_answer(talk)
    talk.call.read("Stop. What time is it?")
    await auntil(lambda: "read Stop. What time is it?" in talk.model.connection.wishes)
    await talk.answered(*spoken("Ten."))
    assert await turns_of(talk.conversation) == [
        ("Tell me.", "stopped", "interrupted", "one two "),
        ("Stop. What time is it?", "completed", "", "Ten."),
    ]


async def test_words_spoken_in_a_typed_turn_are_the_next_question(talk: Talk) -> None:
    talk.call.read("one")
    await auntil(lambda: talk.model.connections and "read one" in talk.model.connection.wishes)
    await talk.model.say(Heard("two", True))
    await talk.answered(*spoken("first."))
    await talk.answered(*spoken("second."))
    assert await texts_of(talk.conversation) == ["one", "first.", "two", "second."]


@pytest.mark.parametrize("text", ["", "  \n", "x" * 200_000])
async def test_typed_words_that_are_no_message_are_refused(talk: Talk, text: str) -> None:
    talk.call.read(text)
    await auntil(lambda: talk.listener.named("error"))
    assert talk.listener.named("error")[0]["code"] in ("blank", "too_long")
    assert await turns_of(talk.conversation) == []


async def test_push_to_talk_makes_the_connection_manual(talk: Talk) -> None:
    await talk.open_connection()
    talk.call.start()
    talk.call.hear(b"\1\0" * 160)
    talk.call.end()
    await auntil(lambda: len(talk.model.connections) == 2)
    await auntil(lambda: talk.model.connection.wishes == ["start", "end"])
    assert (talk.model.connections[0].manual, talk.model.connection.manual) == (False, True)
    assert (talk.model.connections[0].wishes, talk.model.connection.heard_bytes) == (["close"], 320)
    talk.call.start()
    talk.call.mute()
    assert talk.model.connection.wishes == ["start", "end", "start", "mute"]


async def test_sound_without_a_push_makes_the_connection_automatic_again(talk: Talk) -> None:
    talk.call.start()
    talk.call.hear(b"\1\0" * 160)
    talk.call.end()
    await auntil(lambda: talk.model.connections and talk.model.connection.wishes == ["start", "end"])
    talk.call.hear(b"\1\0" * 160)  # a last frame of the push
    await asyncio.sleep(0.05)
    assert len(talk.model.connections) == 1
    for _ in range(20):
        talk.call.hear(b"\1\0" * 160)
    await auntil(lambda: len(talk.model.connections) == 2)
    await auntil(lambda: talk.model.connection.heard_bytes == 21 * 320)
    assert not talk.model.connection.manual


async def test_the_microphones_sound_waits_for_the_connection(talk: Talk) -> None:
    for _ in range(10):
        talk.call.hear(b"\1\0" * 160)
    await auntil(lambda: talk.model.connections and talk.model.connection.heard_bytes == 3200)


# --- failures ------------------------------------------------------------------------------------


async def test_a_failure_ends_the_turn_and_the_call_goes_on(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.live.call.REOPEN_SECONDS", 0)
    await in_an_answer(talk)
    await talk.model.say(AgentFailure("rate_limited", "asked too often"))
    await until_between_turns(talk)
    await talk.ask_aloud("And then?", *spoken("Then."))
    assert await turns_of(talk.conversation) == [
        ("Tell me.", "failed", "rate_limited", "one two three "),
        ("And then?", "completed", "", "Then."),
    ]
    assert [frame["code"] for frame in talk.listener.named("error")] == ["rate_limited"]
    assert talk.model.connection.session.told == ["Tell me.", "one two three "]


async def test_three_failures_in_a_row_end_the_call(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.live.call.REOPEN_SECONDS", 0)
    for _ in range(3):
        await talk.open_connection()
        talk.model.connection.send(AgentFailure("misconfigured", "no key"))
        await asyncio.sleep(0.1)
    assert await talk.call.run() == CallEnd.FAILED.code
    assert await turns_of(talk.conversation) == []


async def test_a_connection_that_ends_between_turns_is_opened_again(talk: Talk) -> None:
    await talk.ask_aloud("one", *spoken("first."))
    talk.model.connection.send(None)
    await auntil(lambda: talk.call._connection is None)
    await talk.open_connection()
    await talk.ask_aloud("two", *spoken("second."))
    assert await texts_of(talk.conversation) == ["one", "first.", "two", "second."]


async def test_a_connection_that_ends_in_a_turn_fails_it(talk: Talk) -> None:
    await in_an_answer(talk)
    talk.model.connection.send(None)
    await until_between_turns(talk)
    assert (await turns_of(talk.conversation))[0][1:3] == ("failed", "unavailable")


@pytest.mark.parametrize(
    ("sent", "setting", "code"),
    [
        ([Heard("Hm", False)], "FIRST_TOKEN_SECONDS", "timeout_first"),
        ([Heard("Tell me.", True)], "FIRST_TOKEN_SECONDS", "timeout_first"),
        ([Heard("Tell me.", True), *spoken("one ", ms=10)], "SILENCE_SECONDS", "stalled"),
        ([Heard("Tell me.", True), *spoken("one ", ms=10)], "RUN_SECONDS", "timeout_run"),
    ],
)
async def test_a_model_that_is_late_fails_its_turn(
    talk: Talk, settings: Any, sent: list[Any], setting: str, code: str
) -> None:
    setattr(settings, setting, 0.2)
    await talk.open_connection()
    await talk.model.say(*sent)
    await until_between_turns(talk)
    assert (await turns_of(talk.conversation))[0][1:3] == ("failed", code)


async def test_a_tool_may_take_longer_than_a_model_may_be_silent(talk: Talk, settings: Any) -> None:
    settings.SILENCE_SECONDS = 0.2
    await talk.open_connection()
    await talk.model.say(Heard("Time?", True), Shown([events.tool_called("c", "clock", {})]))
    await asyncio.sleep(0.4)
    await talk.model.say(Shown([events.tool_returned("c", "clock", result="10", elapsed_ms=400)]))
    await talk.answered(*spoken("Ten.", ms=10))
    assert (await turns_of(talk.conversation))[0][1] == "completed"


async def test_a_result_of_an_interrupted_turn_is_not_shown_in_the_next(talk: Talk) -> None:
    await talk.open_connection()
    await talk.model.say(Heard("Time?", True), Shown([events.tool_called("c", "clock", {})]), Interrupted())
    late = Shown([events.tool_returned("c", "clock", result="10", elapsed_ms=1)])
    await talk.ask_aloud("And now?", late, *spoken("Eleven."))
    assert (await turns_of(talk.conversation))[1] == ("And now?", "completed", "", "Eleven.")


async def test_a_long_answer_is_cut_at_the_size_limit(talk: Talk, settings: Any) -> None:
    settings.REPLY_MAX_BYTES = 10
    await talk.open_connection()
    await talk.model.say(Heard("Tell me.", True), *spoken("one two ", "three four"))
    await until_between_turns(talk)
    run = await Run.objects.select_related("reply").aget()
    assert run.reply and (run.status, run.finish, run.reply.text) == ("completed", "length", "one two th")


# --- limits and rules ----------------------------------------------------------------------------


async def test_a_turn_that_may_not_begin_ends_the_call(talk: Talk) -> None:
    await Conversation.objects.aupdate(locked_at=timezone.now())
    await talk.open_connection()
    await talk.model.say(Heard("Hello?", True))
    assert await talk.call.run() == 4423
    assert talk.call.closing == CallEnd.LOCKED


async def test_a_rule_on_prompts_stops_a_spoken_question(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(member: Any, prompt: str) -> None:
        if "forbidden" in prompt:
            raise refusals.unprocessable("forbidden", "Not this.")

    monkeypatch.setattr(hooks, "check_prompt", [forbid])
    await talk.open_connection()
    await talk.model.say(Heard("Say the forbidden.", True))
    await until_between_turns(talk)
    assert (await turns_of(talk.conversation))[0][1:3] == ("stopped", "moderated")


# --- clients -------------------------------------------------------------------------------------


async def test_a_turn_goes_on_without_its_client(talk: Talk) -> None:
    await talk.open_connection()
    await talk.model.say(Heard("Tell me.", True), *spoken("one "))
    talk.call.detach(talk.listener, hung_up=False)
    await talk.answered(*spoken("two."))
    assert await turns_of(talk.conversation) == [("Tell me.", "completed", "", "one two.")]
    assert not talk.listener.named("turn")


async def test_a_client_that_comes_back_is_attached_to_its_call(talk: Talk) -> None:
    run = await in_an_answer(talk)
    talk.call.detach(talk.listener, hung_up=False)
    await run_db(keeping.mark_lost, talk.call.row.pk, talk.call.row.epoch)
    again = await talk_in(talk.conversation, talk.member, talk.model)
    assert again.call is talk.call
    assert [frame["type"] for frame in again.listener.frames] == ["ready", "run"]
    assert again.listener.frames[1]["run"] == str(run.pk)
    await again.answered(*spoken("four."))
    assert again.listener.audio == 100 * 48
    assert again.listener.named("turn")


async def test_hanging_up_in_an_answer_keeps_what_was_heard(talk: Talk) -> None:
    await in_an_answer(talk)
    assert await talk.hang_up() == 1000
    assert await turns_of(talk.conversation) == [("Tell me.", "stopped", "interrupted", "one two ")]
    assert registry.call_of(talk.conversation) is None
    talk.call.hear(b"\0\0")
    talk.call.read("anybody?")
    assert len(talk.model.connections) == 1


async def test_an_agent_without_a_voice_is_not_called(
    parley: Any, alice: Any, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mute(agent: str) -> Any:
        raise NoVoice("It is a workflow.")

    monkeypatch.setattr(live_call, "voice_of", mute)
    with pytest.raises(CallRefused, match="no_voice") as raised:
        await open_talk(alice, model)
    assert (raised.value.end, raised.value.detail) == (CallEnd.NO_VOICE, "It is a workflow.")


# --- processes -----------------------------------------------------------------------------------


async def test_a_handle_is_kept_and_used_by_the_next_holder(talk: Talk) -> None:
    await talk.ask_aloud("one", *spoken("first."))
    await talk.model.say(Handle("secret-1"), Handle("secret-2"))
    await auntil(lambda: LiveCall.objects.exclude(handle=None).aexists())
    await auntil(lambda: run_db(lambda: keeping.handle_of(talk.call.row.pk) == "secret-2"))
    assert "secret" not in ((await LiveCall.objects.aget()).handle or "")
    talk.call.finish(CallEnd.TAKEN_OVER)
    await talk.call.run()
    again = await talk_in(talk.conversation, talk.member, talk.model, call=talk.call.row.pk)
    await again.open_connection()
    assert again.model.connection.handle == "secret-2"


async def test_a_drain_between_turns_says_resuming_at_once(talk: Talk) -> None:
    await talk.ask_aloud("one", *spoken("first."))
    await supervisor.drain()
    supervisor.draining = False
    assert await talk.call.run() == 1012
    assert talk.listener.frames[-1] == {"type": "resuming"}
    row = await LiveCall.objects.aget()
    assert row.ended_at is None


async def test_a_drain_waits_for_the_end_of_a_turn(talk: Talk) -> None:
    await in_an_answer(talk)
    draining = asyncio.create_task(supervisor.drain())
    await asyncio.sleep(0.1)
    assert not draining.done() and not talk.listener.named("resuming")
    await talk.answered(*spoken("four."))
    await draining
    supervisor.draining = False
    assert await talk.call.run() == 1012
    assert (await turns_of(talk.conversation))[0][1:] == ("completed", "", "one two three four.")


async def test_a_drain_ends_a_turn_that_is_too_long(talk: Talk, settings: Any) -> None:
    settings.DRAIN_SECONDS = 0.2
    await in_an_answer(talk)
    await supervisor.drain()
    supervisor.draining = False
    assert await talk.call.run() == 1012
    assert await turns_of(talk.conversation) == [("Tell me.", "stopped", "interrupted", "one two ")]


async def test_a_turn_of_a_dead_process_is_ended_by_the_next_holder(
    parley: Any, alice: Any, model: Model
) -> None:
    def left() -> Run:
        run = left_behind(alice, events.heard("Tell me.", final=True), events.text("one "))
        # Its heartbeat is fresh: no sweep takes the run over yet.
        Process.objects.filter(runs=run).update(heartbeat_at=timezone.now())
        LiveCall.objects.create(
            conversation=run.conversation, owner=alice, process_id=run.process_id, lost_at=timezone.now()
        )
        return run

    run = await run_db(left)
    talk = await talk_in(run.conversation_id, alice, model)
    assert talk.call.row.epoch == 2
    await auntil(lambda: Run.objects.exclude(ended_at=None).aexists(), within=5)
    await talk.ask_aloud("two", *spoken("second."))
    assert await turns_of(run.conversation_id) == [
        ("Tell me.", "stopped", "interrupted", "one "),
        ("two", "completed", "", "second."),
    ]
    await talk.hang_up()


async def test_a_turn_waits_for_the_end_of_another_run(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tries = actions.begin_turn, []

    def busy_at_first(*args: Any) -> Any:
        tries.append(args)
        if len(tries) < 3:
            raise refusals.busy("another")
        return real(*args)

    monkeypatch.setattr(actions, "begin_turn", busy_at_first)
    await talk.ask_aloud("one", *spoken("first."))
    assert len(tries) == 3
    assert await texts_of(talk.conversation) == ["one", "first."]


async def test_calls_of_two_members_do_not_meet(start_talk: StartTalk, bob: Any) -> None:
    first = await start_talk()
    second = await open_talk(bob, first.model)
    await first.open_connection()
    of_alice = first.model.connection
    await second.open_connection()
    of_bob = first.model.connection
    of_alice.send(Heard("of alice", True), *spoken("for alice."), TurnComplete())
    of_bob.send(Heard("of bob", True), *spoken("for bob."), TurnComplete())
    await auntil(lambda: first.listener.named("turn") and second.listener.named("turn"))
    assert await texts_of(first.conversation) == ["of alice", "for alice."]
    assert await texts_of(second.conversation) == ["of bob", "for bob."]


async def test_a_second_client_takes_the_place_of_the_first(talk: Talk) -> None:
    other = Listener()
    talk.call.attach(other)
    await talk.open_connection()
    await talk.model.say(Heard("one", True), Audio(b"\0\0" * 480))
    assert (talk.listener.audio, other.audio) == (0, 960)
    talk.call.detach(talk.listener, hung_up=True)
    assert talk.call.closing is None
    await talk.answered(*spoken("first."))
