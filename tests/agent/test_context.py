"""The context that a run starts with: the events and the state of its branch, and nothing else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from google.adk.tools import ToolContext

from chat import actions
from chat.actions import Ask
from chat.agent.agents import catalog
from chat.agent.memory import session_service
from chat.agent.memory.context import load_session
from chat.models import Conversation, Message, Run
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Pause, Status, Text, questions_of
from tests.support.sse_client import SseEvent
from tests.support.talk import Said, Talk, use_tools


def remember(key: str, value: str, tool_context: ToolContext) -> dict[str, Any]:
    """Keep a value in the state."""
    tool_context.state[key] = value
    return {"kept": key}


def recall(tool_context: ToolContext) -> dict[str, Any]:
    """Return the state."""
    return dict(tool_context.state.to_dict())


async def linger(key: str, tool_context: ToolContext) -> dict[str, Any]:
    """Keep a value in the state, and do not return."""
    tool_context.state[key] = "never"
    await asyncio.sleep(3600)
    return {}


@pytest.fixture
async def talk(as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Return alice's conversation with an agent whose tools remember and recall."""
    await use_tools(monkeypatch, remember, recall, linger)
    return Talk(as_alice)


def known(gemini: Gemini) -> list[str]:
    """Return the texts of the newest request, in order: the conversation as the model sees it."""
    return [text for _role, text in questions_of(gemini.requests[-1])]


async def keep(talk: Talk, gemini: Gemini, key: str, value: str = "kept") -> Said:
    """Ask a question that makes the agent keep a value in its state."""
    question = f"Keep {key}"
    gemini.on(question, [Call("remember", {"key": key, "value": value})], [Text(f"I keep {key}.")])
    said = await talk.ask(question)
    assert said.end == "run.completed"
    return said


async def state_of(talk: Talk, gemini: Gemini, **fields: Any) -> dict[str, Any]:
    """Return the state as a tool of the next run finds it."""
    gemini.on("What is kept?", [Call("recall")], [Text("That.")])
    said = await talk.ask("What is kept?", **fields)
    found: dict[str, Any] = said.named("tool.returned")[0].json()["result"]
    return found


async def choose_branch(talk: Talk, message: str | None) -> None:
    answer = await talk.client.request(
        "PATCH", f"/api/v1/conversations/{talk.conversation}", json_body={"head": message}
    )
    assert answer.status == 200, answer.body


@contextlib.asynccontextmanager
async def stopped_after(talk: Talk, query: str, text: str) -> AsyncIterator[list[SseEvent]]:
    """Ask, read until ``text`` is shown or the tool of this name is called, stop, read to the end."""
    body = {"query": query} | ({"conversation": talk.conversation} if talk.conversation else {})
    async with talk.client.open("POST", "/chat/stream", json_body=body) as exchange:
        events = await exchange.until(
            lambda seen: text in seen[-1].data and seen[-1].name in ("", "tool.called")
        )
        stop = asyncio.ensure_future(talk.client.post(f"/chat/runs/{events[0].run}/stop"))
        events += await exchange.all_events()
        talk.conversation = events[0].json()["conversation"]
        assert (await stop).json()["status"] == "stopped"
        yield events


# --- branches -------------------------------------------------------------------------------------


async def test_an_edit_does_not_see_the_texts_of_other_branches(talk: Talk, gemini: Gemini) -> None:
    first = await talk.ask("one")
    await talk.ask("two")
    await talk.ask("three")
    await talk.ask("TWO", parent=first.message)
    assert known(gemini) == ["one", "You said: one", "TWO"]
    await talk.ask("four")
    assert known(gemini) == ["one", "You said: one", "TWO", "You said: TWO", "four"]


async def test_an_edit_does_not_inherit_the_state_of_other_branches(talk: Talk, gemini: Gemini) -> None:
    first = await keep(talk, gemini, "a")
    later = await keep(talk, gemini, "b")
    assert await state_of(talk, gemini, parent=first.message) == {"a": "kept"}
    await keep(talk, gemini, "c")
    assert await state_of(talk, gemini) == {"a": "kept", "c": "kept"}
    await choose_branch(talk, later.message)
    assert await state_of(talk, gemini, parent=later.message) == {"a": "kept", "b": "kept"}


async def test_an_edit_of_the_first_message_starts_with_an_empty_context(talk: Talk, gemini: Gemini) -> None:
    await keep(talk, gemini, "a")
    assert await state_of(talk, gemini, parent=None) == {}
    assert known(gemini) == ["What is kept?"]


async def test_an_earlier_branch_is_unchanged_when_chosen_again(talk: Talk, gemini: Gemini) -> None:
    first = await talk.ask("one")
    old = await talk.ask("two")
    await talk.ask("TWO", parent=first.message)
    await choose_branch(talk, old.message)
    await talk.ask("three")
    assert known(gemini) == ["one", "You said: one", "two", "You said: two", "three"]


async def test_a_second_answer_does_not_see_the_old_reply(talk: Talk, gemini: Gemini) -> None:
    await talk.ask("one")
    gemini.on("two", [Text("Old.")], [Text("New.")])
    old = await talk.ask("two")
    new = await talk.ask(prompt=old.prompt)
    assert (old.text, new.text) == ("Old.", "New.")
    assert known(gemini) == ["one", "You said: one", "two"]
    await talk.ask("three")
    assert known(gemini) == ["one", "You said: one", "two", "New.", "three"]
    await choose_branch(talk, old.message)
    await talk.ask("four")
    assert known(gemini) == ["one", "You said: one", "two", "Old.", "four"]


async def test_a_second_answer_does_not_inherit_the_state_of_the_first(talk: Talk, gemini: Gemini) -> None:
    await keep(talk, gemini, "a")
    gemini.on(
        "Keep one of them",
        [Call("remember", {"key": "old", "value": "kept"})],
        [Text("Done.")],
        [Call("remember", {"key": "new", "value": "kept"})],
        [Text("Done.")],
    )
    old = await talk.ask("Keep one of them")
    await talk.ask(prompt=old.prompt)
    assert await state_of(talk, gemini) == {"a": "kept", "new": "kept"}
    await choose_branch(talk, old.message)
    assert await state_of(talk, gemini) == {"a": "kept", "old": "kept"}


async def test_a_retry_after_a_failure_asks_the_question_once(talk: Talk, gemini: Gemini) -> None:
    gemini.on("two", [Status(400, "INVALID_ARGUMENT")], [Text("Now it works.")])
    await talk.ask("one")
    failed = await talk.ask("two")
    assert (failed.end, failed.message) == ("run.failed", None)
    retried = await talk.ask(prompt=failed.prompt)
    assert retried.text == "Now it works."
    assert known(gemini) == ["one", "You said: one", "two"]
    await talk.ask("three")
    assert known(gemini) == ["one", "You said: one", "two", "Now it works.", "three"]


# --- runs that did not complete -------------------------------------------------------------------


async def test_the_model_sees_the_text_that_a_stopped_run_showed(talk: Talk, gemini: Gemini) -> None:
    gemini.on("slow", [Text("Shown, "), Text("all of it."), Hold(), Text(" Never.")])
    async with stopped_after(talk, "slow", "all of it.") as events:
        assert Said(events).text == "Shown, all of it."
    await talk.ask("next")
    assert questions_of(gemini.requests[-1]) == [
        ("user", "slow"),
        ("model", "Shown, all of it."),
        ("user", "next"),
    ]


async def test_complete_model_calls_of_a_stopped_run_are_not_repeated(talk: Talk, gemini: Gemini) -> None:
    """The first model call was complete and the second one stopped: only the text of the second is added."""
    gemini.on("slow", [Text("Wait."), Call("recall")], [Text("Half"), Hold(), Text(" never.")])
    async with stopped_after(talk, "slow", "Half") as events:
        assert Said(events).text == "Wait.\n\nHalf"
    await talk.ask("next")
    contents = gemini.requests[-1]["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user", "model", "user"]
    assert known(gemini) == ["slow", "Wait.", "Half", "next"]
    assert "functionCall" in contents[1]["parts"][1] and "functionResponse" in contents[2]["parts"][0]


async def test_a_stopped_tool_call_has_a_result(talk: Talk, gemini: Gemini) -> None:
    """A call without a result would be left out of the context, or refused by the model."""
    gemini.on("slow", [Text("Wait."), Call("linger", {"key": "a"})], [Text("Never.")])
    async with stopped_after(talk, "slow", "linger") as events:
        assert Said(events).text == "Wait."
    await talk.ask("next")
    contents = gemini.requests[-1]["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user", "user"]
    (answer,) = contents[2]["parts"]
    assert answer["functionResponse"]["name"] == "linger"
    assert set(answer["functionResponse"]["response"]) == {"error"}
    assert await state_of(talk, gemini) == {}
    await oracle.acheck([events])


async def test_state_kept_by_a_stopped_or_failed_run_counts(talk: Talk, gemini: Gemini) -> None:
    gemini.on(
        "slow",
        [Call("remember", {"key": "stopped", "value": "kept"})],
        [Text("Half"), Hold(), Text(" never.")],
    )
    async with stopped_after(talk, "slow", "Half"):
        pass
    gemini.on(
        "fail", [Call("remember", {"key": "failed", "value": "kept"})], [Status(400, "INVALID_ARGUMENT")]
    )
    assert (await talk.ask("fail")).end == "run.failed"
    assert await state_of(talk, gemini) == {"stopped": "kept", "failed": "kept"}


async def test_the_model_sees_the_question_of_a_failed_run(talk: Talk, gemini: Gemini) -> None:
    gemini.on("broken", [Status(400, "INVALID_ARGUMENT")])
    await talk.ask("broken")
    await talk.ask("next")
    assert questions_of(gemini.requests[-1]) == [("user", "broken"), ("user", "next")]


async def test_a_run_stopped_in_the_queue_keeps_its_question_and_the_state(
    talk: Talk, gemini: Gemini, alice: Any
) -> None:
    await keep(talk, gemini, "a")

    @transaction.atomic
    def ask_and_stop() -> str:
        conversation = Conversation.objects.get().pk
        ask = Ask(query="quickly", conversation=conversation)
        asked = actions.send_message(alice, ask, agents=catalog.available_names())
        return actions.request_stop(asked).status

    assert await sync_to_async(ask_and_stop)() == "stopped"
    assert await state_of(talk, gemini) == {"a": "kept"}
    assert known(gemini) == ["Keep a", "I keep a.", "quickly", "What is kept?"]
    assert [content["role"] for content in gemini.requests[-1]["contents"]][-4:] == [
        "user",
        "user",
        "model",
        "user",
    ]


async def test_the_model_sees_a_reply_over_the_limit_as_far_as_it_was_shown(
    talk: Talk, gemini: Gemini, settings: Any
) -> None:
    settings.REPLY_MAX_BYTES = 10
    gemini.on("Say a lot", [Text("12345"), Text("67890 and more"), Hold(), Text("and more")])
    said = await talk.ask("Say a lot")
    assert (said.text, said.data["finish"]) == ("1234567890", "length")
    await talk.ask("next")
    assert known(gemini) == ["Say a lot", "1234567890", "next"]


async def test_an_event_stored_during_a_time_out_is_not_repeated(
    talk: Talk, gemini: Gemini, settings: Any
) -> None:
    """The model's last event waits for the database while the run times out."""
    settings.RUN_SECONDS = 1.0
    gemini.on("slow", [Text("Whole answer."), Pause(0.5), Text("")])
    async with talk.client.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        seen = await exchange.until("text")
        talk.conversation = seen[0].json()["conversation"]
        async with database_locked(seen[0].run):
            await asyncio.sleep(1.5)
        seen += await exchange.all_events()
    assert Said(seen).code == "timeout_run" and Said(seen).text == "Whole answer."
    await talk.ask("next")
    assert known(gemini) == ["slow", "Whole answer.", "next"]


@contextlib.asynccontextmanager
async def database_locked(run_id: str) -> AsyncIterator[None]:
    """Lock the row of a run, so that no one else can write to it."""
    locked, release = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold() -> None:
        with transaction.atomic():
            list(Run.objects.select_for_update().filter(pk=run_id))
            loop.call_soon_threadsafe(locked.set)
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(30)

    holding = asyncio.ensure_future(sync_to_async(hold, thread_sensitive=False)())
    await locked.wait()
    try:
        yield
    finally:
        release.set()
        await holding


# --- omissions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", ["user", "assistant"])
async def test_turns_with_a_hidden_message_are_left_out(talk: Talk, gemini: Gemini, hidden: str) -> None:
    await talk.ask("one")
    await talk.ask("secret")
    await talk.ask("three")

    def hide() -> int:
        return Message.objects.filter(role=hidden, text__endswith="secret").update(hidden_at=timezone.now())

    assert await sync_to_async(hide)() == 1
    await talk.ask("four")
    assert known(gemini) == ["one", "You said: one", "three", "You said: three", "four"]


async def test_the_context_holds_the_newest_runs_up_to_the_limit_of_events(
    talk: Talk, gemini: Gemini, settings: Any
) -> None:
    settings.CONTEXT_EVENTS = 9
    for n in range(4):
        await talk.ask(f"question {n}")  # two events each
    await keep(talk, gemini, "a")  # four events
    await talk.ask("next")
    assert known(gemini) == [
        "question 2",
        "You said: question 2",
        "question 3",
        "You said: question 3",
        "Keep a",
        "I keep a.",
        "next",
    ]
    assert gemini.requests[-1]["contents"][0]["role"] == "user"


async def test_the_context_holds_the_newest_runs_up_to_the_limit_of_tokens(
    talk: Talk, gemini: Gemini, settings: Any
) -> None:
    settings.CONTEXT_TOKENS = 1500
    await talk.ask("old")
    gemini.on("long", [Text("x" * 5000)])
    await talk.ask("long")
    await talk.ask("short")
    assert len(known(gemini)) == 3  # the newest run is included, however long it is
    await talk.ask("next")
    assert known(gemini) == ["short", "You said: short", "next"]


async def test_the_state_is_kept_when_events_are_left_out(talk: Talk, gemini: Gemini, settings: Any) -> None:
    settings.CONTEXT_EVENTS = 3
    await keep(talk, gemini, "a")
    await keep(talk, gemini, "b")
    assert await state_of(talk, gemini) == {"a": "kept", "b": "kept"}
    assert known(gemini)[0] == "Keep b"


# --- shared state ---------------------------------------------------------------------------------


async def test_user_state_is_per_member_and_app_state_is_shared(
    talk: Talk, as_bob: Client, gemini: Gemini
) -> None:
    await keep(talk, gemini, "user:color", "blue")
    await keep(talk, gemini, "app:motto", "onwards")
    await keep(talk, gemini, "own", "mine")
    assert await state_of(Talk(talk.client), gemini) == {"user:color": "blue", "app:motto": "onwards"}
    assert await state_of(Talk(as_bob), gemini) == {"app:motto": "onwards"}
    await keep(Talk(as_bob), gemini, "user:color", "red")
    assert (await state_of(talk, gemini))["user:color"] == "blue"


async def test_concurrent_conversations_keep_each_others_state_keys(talk: Talk, gemini: Gemini) -> None:
    gemini.on(
        "slow",
        [Text("Wait."), Hold(), Call("remember", {"key": "user:slow", "value": "kept"})],
        [Text("Done.")],
    )
    async with talk.client.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        await exchange.until("text")
        await keep(Talk(talk.client), gemini, "user:quick")
        gemini.release()
        await exchange.all_events()
    assert await state_of(talk, gemini) == {"user:slow": "kept", "user:quick": "kept"}


async def test_user_state_does_not_depend_on_the_branch(talk: Talk, gemini: Gemini) -> None:
    """It belongs to the member, not to the conversation."""
    first = await keep(talk, gemini, "a")
    await keep(talk, gemini, "user:b")
    assert await state_of(talk, gemini, parent=first.message) == {"a": "kept", "user:b": "kept"}


# --- costs ----------------------------------------------------------------------------------------


def queries_of_load_session(run_id: str) -> list[str]:
    run = Run.objects.select_related("conversation", "prompt").get(pk=run_id)
    with CaptureQueriesContext(connection) as captured:
        load_session(run)
    return [query["sql"] for query in captured]


async def test_query_counts_do_not_grow_with_the_conversation(talk: Talk, gemini: Gemini) -> None:
    await talk.ask("one")
    second = await talk.ask("two")
    short = await sync_to_async(queries_of_load_session)(second.run)
    for n in range(6):
        last = await talk.ask(f"question {n}")
    long = await sync_to_async(queries_of_load_session)(last.run)
    assert len(long) == len(short) <= 9
    assert not any('"html"' in sql or '"parts"' in sql for sql in long)


async def test_the_history_is_read_once_a_run(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    await talk.ask("one")
    read, decode = [], session_service._events

    def counted(*args: Any) -> Any:
        found = decode(*args)
        read.append(len(found))
        return found

    monkeypatch.setattr(session_service, "_events", counted)
    gemini.on("two", *[[Call("recall")]] * 5, [Text("Done.")])
    assert (await talk.ask("two")).text == "Done."
    assert gemini.calls_for("two") == 6 and read == [2]
