"""Hooks: what another app can forbid, change or be told, through every way in."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async

from chat import hooks, refusals
from chat.events import TEXT, Event
from chat.models import Message, QueuedAsk, Run
from tests.support.client import Client
from tests.support.gemini import Block, Call, Gemini, Status, Text
from tests.support.talk import Talk, use_tools


def refuse(*_args: Any) -> None:
    raise refusals.Refusal(403, "suspended", "Not until tomorrow.")


def refuse_word(_member: Any, prompt: str) -> None:
    if "forbidden" in prompt:
        raise refusals.unprocessable("rule", "This is against the rules.")


async def test_nothing_is_hooked_by_default_but_moderation() -> None:
    lists = {name: value for name, value in vars(hooks).items() if isinstance(value, list)}
    hooked = {name for name, functions in lists.items() if functions}
    assert hooked == {
        "looks", "message_rated", "models_of_conversation", "owner_changed", "run_blocked",
        "terminal_opened", "watches",
    }  # fmt: skip


async def test_a_member_who_may_not_ask_is_refused_by_stream_page_and_queue(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(as_alice)
    await talk.ask("before")
    monkeypatch.setattr(hooks, "may_ask", [refuse])
    body = {"query": "hello", "conversation": talk.conversation}
    for extra in ({}, {"if_busy": "queue"}, {"if_busy": "interrupt"}):
        answer = await as_alice.post("/chat/stream", body | extra)
        assert (answer.status, answer.json()["error"]["code"]) == (403, "suspended")
    page = await as_alice.post(f"/chat/{talk.conversation}/", form={"query": "hello"})
    assert page.status == 403
    assert "Not until tomorrow." in page.text
    assert await Run.objects.acount() == 1


async def test_a_queued_ask_of_such_a_member_waits(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(as_alice)
    await talk.ask("before")
    run = await Run.objects.aget()
    queued = await QueuedAsk.objects.acreate(
        conversation_id=run.conversation_id, owner=as_alice.user, text="later", position=1
    )
    monkeypatch.setattr(hooks, "may_ask", [refuse])
    assert (await as_alice.post(f"/api/v1/queued/{queued.pk}/send", {})).status == 403
    from chat.queue import continue_queue

    assert await sync_to_async(continue_queue)(run.conversation_id, None) is None
    monkeypatch.setattr(hooks, "may_ask", [])
    assert await sync_to_async(continue_queue)(run.conversation_id, None)


async def test_a_prompt_can_be_refused_before_it_is_stored(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "check_prompt", [refuse_word])
    answer = await as_alice.post("/chat/stream", {"query": "something forbidden"})
    assert (answer.status, answer.json()["error"]["code"]) == (422, "rule")
    assert not await Message.objects.aexists()
    assert (await as_alice.ask("something else"))[-1].data == "[DONE]"


async def test_an_event_can_be_changed_or_dropped_before_it_is_stored(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_secret(_run: Any, event: Event) -> Event | None:
        if event.type != TEXT:
            return event
        text = event.data["text"].replace("secret", "…")
        return Event(TEXT, {"text": text}) if text != " dropped" else None

    monkeypatch.setattr(hooks, "filter_event", [without_secret])
    gemini.on("tell", [Text("the secret"), Text(" dropped"), Text(" end")])
    talk = Talk(as_alice)
    said = await talk.ask("tell")
    reply = await Message.objects.aget(role="assistant")
    assert "secret" not in said.text
    assert "dropped" not in said.text
    assert reply.text == said.text


async def test_a_tool_call_can_be_refused_with_a_sentence_for_the_model(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    def send_letter(to: str) -> str:
        """Send a letter."""
        called.append(to)
        return "sent"

    await use_tools(monkeypatch, send_letter)
    asked = []

    def check(agent: str, tool: str, args: dict[str, Any]) -> str | None:
        asked.append((tool, args))
        return "Letters are not allowed." if tool == "send_letter" else None

    monkeypatch.setattr(hooks, "check_tool_call", [check])
    gemini.on("write", [Call("send_letter", {"to": "bob"})], [Text("I could not.")])
    said = await Talk(as_alice).ask("write")
    assert said.text == "I could not."
    assert (called, asked) == ([], [("send_letter", {"to": "bob"})])
    assert "Letters are not allowed." in str(gemini.requests[-1])


async def test_a_blocked_run_is_told_once(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(hooks, "run_blocked", [lambda run: told.append(str(run.pk))])
    gemini.on("bad", [Block("SAFETY")])
    gemini.on("wrong", [Status(400, "INVALID_ARGUMENT")])
    talk = Talk(as_alice)
    said = await talk.ask("bad")
    assert said.code == "blocked"
    assert told == [said.run]
    await Talk(as_alice).ask("wrong")
    assert told == [said.run]


async def test_a_rating_is_told_in_its_transaction(as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def tell(reply: Message) -> None:
        told.append((reply.feedback, reply.feedback_detail))

    monkeypatch.setattr(hooks, "message_rated", [tell])
    said = await Talk(as_alice).ask("hello")
    path = f"/api/v1/messages/{said.message}/feedback"
    body = {"value": -1, "reasons": ["wrong"], "text": "no"}
    await as_alice.request("PUT", path, json_body=body)
    await as_alice.request("PUT", path, json_body={"value": None})
    assert told == [(-1, {"reasons": ["wrong"], "text": "no"}), (None, None)]

    def fail(_reply: Any) -> None:
        raise refusals.too_many("later")

    monkeypatch.setattr(hooks, "message_rated", [fail])
    assert (await as_alice.request("PUT", path, json_body=body)).status == 429
    assert (await Message.objects.aget(pk=said.message or "")).feedback is None


async def test_without_moderation_staff_read_nothing(
    as_alice: Client, parley: Any, mona: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "looks", [])
    talk = Talk(as_alice)
    await talk.ask("a canary 51ab")
    as_mona = await Client(parley, mona).sign_in()
    answer = await as_mona.get(f"/admin/chat/conversation/{talk.conversation}/change/")
    assert answer.status == 302
    assert "51ab" not in answer.text
