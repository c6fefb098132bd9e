"""Live runs without a call: their beginning, the words that are written late, and what a crash leaves."""

import asyncio
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from chat import actions, events, lifecycle
from chat.actions import Ask, mark_deleted, send_message
from chat.begin import Reservation
from chat.endings import End
from chat.events import Fold
from chat.lifecycle import Claim, Outcome, Question
from chat.models import Conversation, Message, Process, Run, RunEvent, SessionEvent
from chat.refusals import Refusal
from chat.runs.supervisor import Supervisor, supervisor
from tests.live.context import context_of
from tests.support import oracle
from tests.support.waiting import auntil

WHOLE = End(events.COMPLETED, finish="stop")
pytestmark = pytest.mark.django_db(transaction=True)


def process() -> Process:
    return Process.objects.create(host="elsewhere", pid=1, boot_id="b", version="v")


def conversation_of(owner: Any, **fields: Any) -> Conversation:
    return Conversation.objects.create(
        owner=owner, agent="chat_assistant", title="New conversation", **fields
    )


def begun(owner: Any, conversation: Conversation, text: str = "") -> Run:
    reservation = Reservation(uuid.uuid4(), process().pk)
    return actions.begin_turn(owner, conversation.pk, text, reservation)


def reply(text: str) -> Fold:
    return Fold([events.agent("chat_assistant"), events.text(text)])


def ended(run: Run, question: Question | None) -> Run:
    outcome = Outcome(WHOLE, session_events=["{}"], question=question)
    fold = reply("Ten.")
    assert lifecycle.end(Claim(run.pk, 1), outcome, fold, [events.text("Ten.")])
    return Run.objects.select_related("prompt", "conversation").get(pk=run.pk)


def refusal_of(owner: Any, conversation: Conversation) -> tuple[int, str]:
    with pytest.raises(Refusal) as raised:
        begun(owner, conversation)
    return raised.value.status, raised.value.code


def test_a_live_run_begins_as_a_running_one_with_an_empty_prompt(alice: Any) -> None:
    run = begun(alice, conversation_of(alice))
    run.refresh_from_db()
    assert (run.mode, run.status, run.epoch, run.prompt.text) == ("live", "running", 1, "")
    assert run.conversation.head_id == run.prompt_id


def test_the_words_are_written_with_the_end(alice: Any) -> None:
    run = ended(begun(alice, conversation_of(alice)), Question("What time?", '{"q": 1}'))
    assert run.prompt.text == "What time?"
    assert run.prompt.parts == {"v": 1, "items": [{"type": "text", "text": "What time?"}]}
    assert run.conversation.title == "What time?"
    assert run.conversation.last_change == run.last_change
    assert list(run.session_events.order_by("position").values_list("position", "payload")) == [
        (0, '{"q": 1}'),
        (1, "{}"),
    ]


def test_a_title_of_the_members_own_stays(alice: Any) -> None:
    run = begun(alice, conversation_of(alice, title_is_manual=True))
    assert ended(run, Question("What time?", None)).conversation.title == "New conversation"


def test_a_typed_turn_has_its_title_at_once(alice: Any) -> None:
    conversation = conversation_of(alice)
    begun(alice, conversation, "What time?")
    conversation.refresh_from_db()
    assert conversation.title == "What time?"


def test_the_words_may_be_written_before_the_end(alice: Any) -> None:
    run = begun(alice, conversation_of(alice))
    assert lifecycle.write_question(Claim(run.pk, 1), "What time?")
    assert Message.objects.get(pk=run.prompt_id).text == "What time?"
    assert not lifecycle.write_question(Claim(run.pk, 2), "Another's.")
    assert ended(run, Question("What time? Now.", None)).prompt.text == "What time? Now."


def test_a_hidden_prompt_stays_without_words(alice: Any) -> None:
    run = begun(alice, conversation_of(alice))
    Message.objects.filter(pk=run.prompt_id).update(hidden_at=timezone.now())
    assert ended(run, Question("What time?", None)).prompt.text == ""


def test_a_turn_is_refused_as_a_written_question_is(alice: Any, bob: Any, settings: Any) -> None:
    conversation = conversation_of(alice)
    assert refusal_of(bob, conversation) == (404, "not_found")
    begun(alice, conversation)
    assert refusal_of(alice, conversation) == (409, "busy")
    settings.LIMITS, settings.RUNS_PER_MEMBER = True, 1
    other = conversation_of(alice)
    assert refusal_of(alice, other) == (429, "too_many")
    settings.LIMITS = False
    Conversation.objects.filter(pk=other.pk).update(locked_at=timezone.now())
    assert refusal_of(alice, other) == (423, "locked")
    with transaction.atomic():
        mark_deleted(other)
    assert refusal_of(alice, other) == (404, "not_found")
    type(alice).objects.update(suspended_until=timezone.now() + timedelta(days=1), suspended_reason="spam")
    assert refusal_of(alice, conversation_of(alice)) == (403, "suspended")


def test_a_written_question_is_refused_during_a_live_run(alice: Any) -> None:
    conversation = conversation_of(alice)
    begun(alice, conversation)
    with pytest.raises(Refusal) as raised:
        send_message(alice, Ask(query="And?", conversation=conversation.pk), agents=["chat_assistant"])
    assert raised.value.code == "busy"


def test_a_fold_has_the_newest_words() -> None:
    said = [events.heard("What", final=False), events.heard("What time?", final=True)]
    fold = Fold([*said, events.text("Ten.")])
    assert (fold.question, fold.text) == ("What time?", "Ten.")


def left_behind(owner: Any, *shown: events.Event, text: str = "") -> Run:
    run = begun(owner, conversation_of(owner), text)
    for seq, event in enumerate(shown, 2):
        RunEvent.objects.create(run=run, seq=seq, type=event.type, data=events.encode_json(event.data))
    Process.objects.filter(runs=run).update(heartbeat_at=timezone.now() - timedelta(minutes=1))
    return run


async def swept(run: Run) -> Run:
    found: Run = await auntil(
        Run.objects.select_related("reply", "prompt").filter(pk=run.pk).exclude(ended_at=None).afirst
    )
    return found


async def test_a_dead_processs_live_run_ends_with_its_words_and_captions(parley: Any, alice: Any) -> None:
    heard = [events.heard("What", final=False), events.heard("What time?", final=False)]
    shown = [*heard, events.text("It is "), events.text("ten")]
    run = await swept(await asyncio.to_thread(lambda: left_behind(alice, *shown)))
    assert run.reply
    assert (run.status, run.code, run.attempt) == ("stopped", "interrupted", 1)
    assert (run.prompt.text, run.reply.text) == ("What time?", "It is ten")
    stored = SessionEvent.objects.filter(run=run).order_by("position").values_list("payload", flat=True)
    contents = [json.loads(payload)["content"] async for payload in stored]
    assert [(content["role"], content["parts"][0]["text"]) for content in contents] == [
        ("user", "What time?"),
        ("model", "It is ten"),
    ]
    await oracle.acheck()


async def test_a_dead_processs_typed_turn_keeps_its_prompt(parley: Any, alice: Any) -> None:
    run = await swept(await asyncio.to_thread(lambda: left_behind(alice, text="What time?")))
    assert (run.status, run.code, run.prompt.text, run.reply) == (
        "stopped",
        "interrupted",
        "What time?",
        None,
    )
    await oracle.acheck()


async def test_a_dead_processs_silent_turn_is_no_part_of_the_context(parley: Any, alice: Any) -> None:
    run = await swept(await asyncio.to_thread(lambda: left_behind(alice)))
    assert (run.status, run.prompt.text) == ("stopped", "")
    assert await asyncio.to_thread(context_of, run.conversation_id) == []


async def test_a_drain_first_tells_those_who_asked_and_ends_after_them(parley: Any) -> None:
    seen: list[str] = []

    async def leave() -> None:
        seen.append("told")
        await asyncio.sleep(0.05)
        seen.append("left")

    supervisor._when_draining.append(leave)
    try:
        await supervisor.drain()
    finally:
        supervisor._when_draining.remove(leave)
        supervisor.draining = False
    assert seen == ["told", "left"]
    assert Supervisor()._when_draining == []
