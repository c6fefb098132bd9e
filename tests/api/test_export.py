"""Export of a conversation: GET /api/v1/conversations/<conversation>/export."""

import re

import pytest

from chat.models import Conversation
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Text, Thought


async def exported(client: Client, conversation: str, query: str = "") -> str:
    answer = await client.get(f"/api/v1/conversations/{conversation}/export?{query}")
    assert answer.status == 200, answer.text
    return answer.text


async def branched(client: Client, gemini: Gemini) -> str:
    """Return a conversation with two answers to its question."""
    gemini.on("one", [Text("first")], [Text("second")])
    started = (await client.ask("one"))[0].json()
    await client.post("/chat/stream", {"prompt": started["prompt"]})
    return str(started["conversation"])


async def test_markdown_has_the_active_branch_for_people(as_alice: Client, gemini: Gemini) -> None:
    call = Call("calculate", {"expression": "6*7"})
    gemini.on("6*7?", [Thought("Let me\nsee."), call], [Text("It is **42**.")])
    conversation = (await as_alice.ask("6*7?"))[0].json()["conversation"]
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "NOW", await exported(as_alice, conversation))
    assert text == (
        "# 6*7?\n\n## You · NOW\n\n6*7?\n\n## chat_assistant · NOW · fake\n\n"
        "> *Thought*\n> \n> Let me\n> see.\n\n"
        '> Tool `calculate`, asked: `{"expression": "6*7"}`\n\nIt is **42**.\n'
    )


async def test_every_branch_is_exported_on_request(as_alice: Client, gemini: Gemini) -> None:
    conversation = await branched(as_alice, gemini)
    active = await exported(as_alice, conversation)
    assert ("first" in active, "second" in active) == (False, True)
    every = await exported(as_alice, conversation, "all=true")
    assert every.index("version 1 of 2\n\nfirst") < every.index("version 2 of 2\n\nsecond")


async def test_json_has_what_the_api_answers(as_alice: Client, gemini: Gemini) -> None:
    conversation = await branched(as_alice, gemini)
    answer = await as_alice.get(f"/api/v1/conversations/{conversation}/export?format=json&all=true")
    found = answer.json()
    read = (await as_alice.get(f"/api/v1/conversations/{conversation}")).json()
    question, second = read.pop("messages")["items"]
    assert read.pop("waiting") == []
    assert read.pop("queued") == []
    assert found["conversation"] == read
    assert [found["messages"][0], found["messages"][2]] == [question, second]
    assert [each["text"] for each in found["messages"]] == ["one", "first", "second"]
    assert [run["reply"] for run in found["runs"]] == second["siblings"]


async def test_a_long_conversation_is_exported_in_batches(as_alice: Client) -> None:
    conversation = (await as_alice.ask("0"))[0].json()["conversation"]
    for n in range(1, 30):
        await as_alice.ask(str(n), conversation=conversation)
    found = (await as_alice.get(f"/api/v1/conversations/{conversation}/export?format=json")).json()
    texts = [each["text"] for each in found["messages"]]
    assert texts == [text for n in range(30) for text in (str(n), f"You said: {n}")]
    assert len(found["runs"]) == 30


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Plan", 'filename="Plan.md"'),
        ('../a"b\\c;d', 'filename="a b c d.md"'),
        ("Привіт", "filename*=utf-8''%D0%9F%D1%80%D0%B8%D0%B2%D1%96%D1%82.md"),
        ("???", 'filename="conversation.md"'),
    ],
)
async def test_the_file_is_named_after_the_title(as_alice: Client, title: str, name: str) -> None:
    conversation = (await as_alice.ask("one"))[0].json()["conversation"]
    await Conversation.objects.filter(pk=conversation).aupdate(title=title)
    answer = await as_alice.get(f"/api/v1/conversations/{conversation}/export")
    assert answer.headers["content-disposition"] == f"attachment; {name}"
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"


@pytest.mark.parametrize("query", ["format=pdf", "all=perhaps", "branch=1"])
async def test_other_exports_are_refused(as_alice: Client, query: str) -> None:
    conversation = (await as_alice.ask("one"))[0].json()["conversation"]
    assert (await as_alice.get(f"/api/v1/conversations/{conversation}/export?{query}")).status == 400
