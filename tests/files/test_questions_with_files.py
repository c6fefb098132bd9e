"""Questions with files: what an ask with ``files`` stores, and which files it refuses."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from chat.database import run_db
from chat.files.attaching import FILES_MAX
from chat.files.models import File
from chat.files.uploads import sweep_uploads
from chat.models import Message, QueuedAsk
from tests.support.client import Client
from tests.support.files import PNG, announce, send
from tests.support.gemini import Gemini, Hold, Text
from tests.support.talk import Talk

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def talk(as_alice: Client) -> Talk:
    return Talk(as_alice)


def files_of(message: dict[str, Any]) -> list[str]:
    return [item["name"] for item in message["parts"]["items"] if item["type"] == "file"]


async def refused(client: Client, **fields: Any) -> tuple[int, str]:
    answer = await client.post("/chat/stream", {"query": "Look", **fields})
    return answer.status, answer.json()["error"]["code"]


async def test_a_question_has_its_files_in_their_order(talk: Talk) -> None:
    second = await send(talk.client, "second.png", PNG)
    first = await send(talk.client, "first.txt", b"hello")
    await talk.ask("Look at these", files=[first["id"], second["id"]])
    question = (await talk.messages())[0]
    assert question["text"] == "Look at these"
    assert question["parts"]["items"] == [
        {"type": "text", "text": "Look at these"},
        {
            "type": "file", "agent": "", "file": first["id"], "name": "first.txt", "mime": "text/plain",
            "size": 5, "width": None, "height": None,
        },
        {
            "type": "file", "agent": "", "file": second["id"], "name": "second.png", "mime": "image/png",
            "size": len(PNG), "width": 2, "height": 1,
        },
    ]  # fmt: skip


async def test_a_question_may_have_files_only(talk: Talk) -> None:
    sent = await send(talk.client, "holiday.png", PNG)
    await talk.ask(files=[sent["id"]])
    question = (await talk.messages())[0]
    assert (question["text"], files_of(question)) == ("", ["holiday.png"])
    conversation = (await talk.client.get(f"/api/v1/conversations/{talk.conversation}")).json()
    assert conversation["title"] == "holiday.png"


async def test_a_question_without_text_and_without_files_is_empty(as_alice: Client) -> None:
    assert await refused(as_alice, query="  ", files=[]) == (422, "blank")
    assert await refused(as_alice, query="  ", files=[str(uuid.uuid4())]) == (422, "blank")


async def test_files_of_others_unknown_and_incomplete_ones_are_refused_alike(
    as_alice: Client, as_bob: Client
) -> None:
    of_bob = await send(as_bob, "secret.txt", b"of bob")
    begun = await announce(as_alice, "begun.txt", 10)
    for file in (of_bob["id"], begun["id"], str(uuid.uuid4())):
        assert await refused(as_alice, files=[file]) == (422, "no_file")
    assert not await Message.objects.aexists()


async def test_a_question_has_at_most_ten_files(talk: Talk) -> None:
    sent = [(await send(talk.client, f"{n}.txt", b"same"))["id"] for n in range(FILES_MAX + 1)]
    assert await refused(talk.client, files=sent) == (422, "too_many_files")
    await talk.ask("Look", files=sent[:FILES_MAX])
    assert len(files_of((await talk.messages())[0])) == FILES_MAX


@pytest.mark.parametrize("fields", [{"prompt": str(uuid.uuid4())}, {"files": "x"}, {"files": ["x"]}])
async def test_files_in_another_form_are_malformed(as_alice: Client, fields: dict[str, Any]) -> None:
    assert await refused(as_alice, **{"files": [str(uuid.uuid4())], **fields}) == (400, "malformed")


async def test_a_key_that_is_used_with_other_files_is_refused(talk: Talk) -> None:
    one, other = await send(talk.client, "a.png", PNG), await send(talk.client, "b.png", PNG)
    key = str(uuid.uuid4())
    said = await talk.ask("Look", files=[one["id"]], client_id=key)
    body = {"query": "Look", "client_id": key, "files": [other["id"]]}
    answer = await talk.client.post("/chat/stream", body)
    assert (answer.status, answer.json()["error"]["code"]) == (422, "key_reused")
    assert said.end == "run.completed"


async def test_an_edit_may_have_the_same_file_and_each_question_keeps_its_own(talk: Talk) -> None:
    sent = await send(talk.client, "a.png", PNG)
    await talk.ask("Look", files=[sent["id"]])
    await talk.ask("Look closer", files=[sent["id"]], parent=None)
    question = (await talk.messages())[0]
    assert files_of(question) == ["a.png"]
    rows = [file async for file in File.objects.order_by("created_at")]
    assert len(rows) == 2 and str(rows[0].pk) == sent["id"]
    assert rows[0].message_id != rows[1].message_id == uuid.UUID(question["id"])
    assert rows[0].blob_id == rows[1].blob_id


async def test_another_conversation_gets_a_file_of_its_own(talk: Talk) -> None:
    sent = await send(talk.client, "a.png", PNG)
    await talk.ask("Look", files=[sent["id"]])
    other = Talk(talk.client)
    await other.ask("Look here", files=[sent["id"]])
    await talk.client.post(f"/chat/{talk.conversation}/delete/")
    item = (await other.messages())[0]["parts"]["items"][1]
    assert item["file"] != sent["id"]
    state = (await other.client.get(f"/api/v1/files/{item['file']}")).json()
    assert state["file"]["sha256"] == sent["sha256"]


async def test_a_file_of_a_deleted_conversation_cannot_be_sent_again(talk: Talk) -> None:
    sent = await send(talk.client, "a.png", PNG)
    await talk.ask("Look", files=[sent["id"]])
    await talk.client.post(f"/chat/{talk.conversation}/delete/")
    assert await refused(talk.client, files=[sent["id"]]) == (422, "no_file")


@pytest.fixture
async def answering(talk: Talk, gemini: Gemini) -> AsyncIterator[Talk]:
    """Return a conversation whose first answer is held at the model until the test releases it."""
    gemini.on("First", [Text("One"), Hold()])
    async with talk.client.open("POST", "/chat/stream", json_body={"query": "First"}) as stream:
        begun = await stream.until(lambda found: found[-1].is_text)
        talk.conversation = begun[0].json()["conversation"]
        yield talk
        gemini.release()
        await stream.all_events()


async def queue(talk: Talk, query: str, file: str) -> str:
    body = {"query": query, "conversation": talk.conversation, "files": [file], "if_busy": "queue"}
    answer = await talk.client.post("/chat/stream", body)
    assert answer.status == 202, answer.text
    return str(answer.json()["queued"])


async def test_a_queued_question_keeps_its_files(answering: Talk, gemini: Gemini) -> None:
    sent = await send(answering.client, "a.png", PNG)
    await queue(answering, "", sent["id"])
    conversation = (await answering.client.get(f"/api/v1/conversations/{answering.conversation}")).json()
    assert [[file["name"] for file in each["files"]] for each in conversation["queued"]] == [["a.png"]]
    await File.objects.aupdate(created_at=timezone.now() - timedelta(days=2))
    assert await run_db(sweep_uploads, timedelta(days=1)) == 0
    gemini.release()
    while not await Message.objects.filter(role="user", text="").aexists():  # the test's time limit ends it
        await asyncio.sleep(0.02)
    asked = [message for message in await answering.messages() if message["role"] == "user"]
    assert files_of(asked[-1]) == ["a.png"]


async def test_the_files_of_a_withdrawn_question_are_unused_again(answering: Talk) -> None:
    sent = await send(answering.client, "a.png", PNG)
    queued = await queue(answering, "Next", sent["id"])
    assert (await answering.client.request("DELETE", f"/api/v1/files/{sent['id']}")).status == 409
    assert (await answering.client.request("DELETE", f"/api/v1/queued/{queued}")).status == 204
    assert not await QueuedAsk.objects.aexists()
    assert (await answering.client.request("DELETE", f"/api/v1/files/{sent['id']}")).status == 204
