"""Thoughts that a model writes between tags in its text become thoughts on the wire and in storage."""

import pytest

from chat.models import Message
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Text, Thought
from tests.support.talk import Talk

pytestmark = pytest.mark.any_database


@pytest.fixture
def talk(as_alice: Client) -> Talk:
    return Talk(as_alice)


REPLY = "<think>\nHm, **maybe**\n</think>\n\nThe *answer*."


def cut(text: str, size: int) -> list[Text]:
    return [Text(text[at : at + size]) for at in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 100])
async def test_tags_that_are_cut_anywhere_make_a_thought(talk: Talk, gemini: Gemini, size: int) -> None:
    gemini.on("Why?", cut(REPLY, size))
    said = await talk.ask("Why?")
    assert (said.thought, said.text) == ("Hm, **maybe**\n", "The *answer*.")
    assert [event.name for event in said.events if event.name == "replace"] == []
    reply = await talk.reply()
    assert reply["text"] == "The *answer*."
    assert [item["type"] for item in reply["parts"]["items"]] == ["thought", "text"]
    await oracle.acheck()


async def test_tags_of_a_reply_in_one_piece_make_a_thought(talk: Talk, gemini: Gemini) -> None:
    gemini.on("Why?", [Text("<thinking>Hm.</thinking>So.")])
    await talk.client.post("/chat/stream", {"query": "Why?", "stream": False})
    items = (await Message.objects.aget(role="assistant")).parts["items"]
    assert [(item["type"], item["text"]) for item in items] == [("thought", "Hm."), ("text", "So.")]


async def test_a_thought_whose_tag_is_not_closed_is_shown_while_it_streams(
    talk: Talk, gemini: Gemini
) -> None:
    gemini.on("Why?", [Text("<thi"), Text("nk>Let me see"), Hold(), Text("</think>So.")])
    async with talk.client.open("POST", "/chat/stream", json_body={"query": "Why?"}) as stream:
        events = await stream.until("thought")
        assert events[-1].json() == {"text": "Let me see"}
        gemini.release()
        await stream.all_events()
    assert (await Message.objects.aget(role="assistant")).text == "So."


async def test_each_model_call_may_begin_with_a_thought(talk: Talk, gemini: Gemini) -> None:
    gemini.on(
        "2 + 3?",
        [Text("<think>Count.</think>Let me count."), Call("calculate", {"expression": "2 + 3"})],
        [Text("<think>Five"), Text(".</think>\nIt is 5.")],
    )
    await talk.ask("2 + 3?")
    reply = await talk.reply()
    assert [item["type"] for item in reply["parts"]["items"]] == [
        "thought",
        "text",
        "tool",
        "thought",
        "text",
    ]
    assert reply["text"] == "Let me count.\n\nIt is 5."
    await oracle.acheck()


@pytest.mark.parametrize(
    "text",
    [
        "The model writes <think> first, </think> later.",
        "`<think>x</think>` is a tag.",
        "```\n<think>\n```",
        "<thinker>No.</thinker>",
        "<b>bold</b>",
        "<think",
        "<",
        "  indented\n",
    ],
)
@pytest.mark.parametrize("size", [1, 4, 100])
async def test_any_other_text_stays_as_it_is(talk: Talk, gemini: Gemini, text: str, size: int) -> None:
    gemini.on("Write", cut(text, size))
    said = await talk.ask("Write")
    assert (said.thought, said.text) == ("", text)
    assert (await talk.reply())["text"] == text


async def test_tags_after_a_thought_of_gemini_are_another_thought(talk: Talk, gemini: Gemini) -> None:
    gemini.on("Why?", [Thought("Hm. "), Text("<think>Oh.</think>So.")])
    said = await talk.ask("Why?")
    assert (said.thought, said.text) == ("Hm. Oh.", "So.")


@pytest.mark.parametrize("size", [1, 4, 100])
async def test_a_thought_that_is_never_closed_is_the_answer_too(
    talk: Talk, gemini: Gemini, size: int
) -> None:
    gemini.on("Why?", cut("<think>\nBecause it rains.", size))
    said = await talk.ask("Why?")
    assert (said.end, said.thought, said.text) == ("run.completed", "Because it rains.", "Because it rains.")
    await oracle.acheck([said.events])


async def test_a_thought_that_is_never_closed_before_a_call_is_no_answer(talk: Talk, gemini: Gemini) -> None:
    call = Call("calculate", {"expression": "2 + 3"})
    gemini.on("2 + 3?", [Text("<think>I count."), call], [Text("It is 5.")])
    said = await talk.ask("2 + 3?")
    assert (said.end, said.thought, said.text) == ("run.completed", "I count.", "It is 5.")
