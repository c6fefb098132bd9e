"""The fields of a question: its conversation, its place in it, an old question, an agent."""

from typing import Any

import pytest

from chat.models import Conversation, Message, Run
from tests.support.client import Client
from tests.support.gemini import Gemini, questions_of
from tests.support.sse_client import text_of

UNKNOWN_ID = "0190a5d2-0000-7000-8000-000000000000"


async def test_a_second_question_continues_the_conversation(as_alice: Client, gemini: Gemini) -> None:
    first = (await as_alice.ask("My name is Ada"))[0].json()
    await as_alice.ask("What is my name?", conversation=first["conversation"])
    assert questions_of(gemini.requests[-1]) == [
        ("user", "My name is Ada"),
        ("model", "You said: My name is Ada"),
        ("user", "What is my name?"),
    ]


async def test_message_is_an_alias_of_query(as_alice: Client) -> None:
    answer = await as_alice.post("/chat/stream", {"message": "hello"})
    assert text_of(answer.events) == "You said: hello"


async def test_an_empty_parent_in_a_form_counts_as_absent(as_alice: Client) -> None:
    prompt = (await as_alice.ask("first"))[0].json()["prompt"]
    again = await as_alice.post("/chat/stream", form={"prompt": prompt, "parent": ""})
    assert text_of(again.events) == "You said: first"


async def test_a_form_can_ask(as_alice: Client) -> None:
    answer = await as_alice.post("/chat/stream", form={"query": "hello from a form"})
    assert text_of(answer.events) == "You said: hello from a form"


async def test_text_is_stored_byte_for_byte(as_alice: Client) -> None:
    text = "  \ttab \r\n \u202eRTL\u202c e\u0301 \U0001f469\u200d\U0001f4bb \u2028 {x} <b> \u200bend  "
    await as_alice.ask(text)
    assert (await Message.objects.aget(role="user")).text == text


async def test_an_edit_is_a_question_with_the_edited_messages_parent(
    as_alice: Client, gemini: Gemini
) -> None:
    conversation = (await as_alice.ask("one"))[0].json()["conversation"]
    second = (await as_alice.ask("two", conversation=conversation))[0].json()["prompt"]
    parent = str((await Message.objects.aget(pk=second)).parent_id)
    await as_alice.ask("TWO", conversation=conversation, parent=parent)
    assert [text for _role, text in questions_of(gemini.requests[-1])] == ["one", "You said: one", "TWO"]
    page = (await as_alice.get(f"/api/v1/conversations/{conversation}")).json()["messages"]["items"]
    assert [m["text"] for m in page] == ["one", "You said: one", "TWO", "You said: TWO"]
    edited = page[2]
    assert edited["siblings"] == [second, edited["id"]]


async def test_a_null_parent_adds_a_new_first_message(as_alice: Client, gemini: Gemini) -> None:
    first = (await as_alice.ask("one"))[0].json()
    await as_alice.ask("ONE", conversation=first["conversation"], parent=None)
    assert questions_of(gemini.requests[-1]) == [("user", "ONE")]
    page = (await as_alice.get(f"/api/v1/conversations/{first['conversation']}")).json()
    assert page["messages"]["items"][0]["siblings"][0] == first["prompt"]


async def test_regenerate_answers_the_same_question_again(as_alice: Client, gemini: Gemini) -> None:
    first = (await as_alice.ask("one"))[0].json()
    answer = await as_alice.post("/chat/stream", {"prompt": first["prompt"]})
    again = answer.events[0].json()
    assert again["prompt"] == first["prompt"]
    assert again["conversation"] == first["conversation"]
    assert questions_of(gemini.requests[-1]) == [("user", "one")]  # not the reply it replaces
    assert await Message.objects.filter(role="user").acount() == 1
    page = (await as_alice.get(f"/api/v1/conversations/{first['conversation']}")).json()
    assert len(page["messages"]["items"][1]["siblings"]) == 2
    assert page["messages"]["items"][0]["run"] == again["run"]  # the newest run of this question


async def test_an_earlier_branch_can_be_chosen_again(as_alice: Client) -> None:
    first = (await as_alice.ask("one"))[0].json()
    path = f"/api/v1/conversations/{first['conversation']}"
    old_reply = (await as_alice.get(path)).json()["head"]
    await as_alice.post("/chat/stream", {"prompt": first["prompt"]})
    changed = await as_alice.request("PATCH", path, json_body={"head": old_reply})
    assert changed.status == 200
    assert changed.json()["head"] == old_reply
    assert (await as_alice.get(path)).json()["messages"]["items"][-1]["id"] == old_reply


async def test_choosing_a_question_shows_the_end_of_its_branch(as_alice: Client) -> None:
    first = (await as_alice.ask("one"))[0].json()
    path = f"/api/v1/conversations/{first['conversation']}"
    end_of_first = (await as_alice.get(path)).json()["head"]
    await as_alice.ask("ONE", conversation=first["conversation"], parent=None)
    await as_alice.request("PATCH", path, json_body={"head": first["prompt"]})
    assert (await as_alice.get(path)).json()["head"] == end_of_first


async def test_a_new_conversation_can_name_its_agent(as_alice: Client) -> None:
    events = await as_alice.ask("hello", agent="chat_assistant")
    assert events[0].json()["agent"] == "chat_assistant"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"query": "x", "agent": "nobody"}, 422),
        ({"query": "x", "parent": UNKNOWN_ID}, 404),
        ({"query": "x", "conversation": UNKNOWN_ID}, 404),
        ({"prompt": UNKNOWN_ID}, 404),
        ({"prompt": UNKNOWN_ID, "query": "x"}, 400),
        ({"prompt": UNKNOWN_ID, "parent": None}, 400),
        ({"query": "x", "message": "y"}, 400),
        ({}, 400),
    ],
)
async def test_an_invalid_question_is_refused_and_stores_nothing(
    as_alice: Client, fields: dict[str, Any], status: int
) -> None:
    assert (await as_alice.post("/chat/stream", fields)).status == status
    assert await Conversation.objects.acount() == 0


async def test_a_reply_cannot_be_used_as_the_prompt(as_alice: Client) -> None:
    first = (await as_alice.ask("one"))[0].json()
    reply = (await as_alice.get(f"/api/v1/conversations/{first['conversation']}")).json()["head"]
    assert (await as_alice.post("/chat/stream", {"prompt": reply})).status == 422


async def test_a_parent_of_another_conversation_is_not_found(as_alice: Client) -> None:
    one = (await as_alice.ask("one"))[0].json()
    two = (await as_alice.ask("two"))[0].json()
    fields = {"query": "x", "conversation": one["conversation"], "parent": two["prompt"]}
    assert (await as_alice.post("/chat/stream", fields)).status == 404
    fields = {"prompt": two["prompt"], "conversation": one["conversation"]}
    assert (await as_alice.post("/chat/stream", fields)).status == 404
    assert await Run.objects.acount() == 2


async def test_the_title_is_the_beginning_of_the_first_question(as_alice: Client) -> None:
    long = "Tell me everything that you know about the history of the lighthouse of Alexandria, please"
    title = (await as_alice.ask(f"\n {long}"))[0].json()["title"]
    assert long.startswith(title.removesuffix("…"))
    assert len(title) <= 60
    assert title.endswith("…")
