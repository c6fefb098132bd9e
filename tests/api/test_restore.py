"""Undoing a deletion, within ten minutes."""

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from chat.models import Conversation, QueuedAsk, Run
from chat.runs.supervisor import supervisor
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Text


async def listed(client: Client) -> list[str]:
    return [each["title"] for each in (await client.get("/api/v1/conversations")).json()["items"]]


async def deleted(client: Client, query: str = "Hello") -> str:
    """Ask, delete the conversation, and return its address."""
    conversation = (await client.ask(query))[0].json()["conversation"]
    path = f"/api/v1/conversations/{conversation}"
    assert (await client.request("DELETE", path)).status == 204
    return path


async def test_a_deletion_is_undone_with_all_its_messages(as_alice: Client) -> None:
    path = await deleted(as_alice)
    assert await listed(as_alice) == []
    async with as_alice.socket() as socket:
        await socket.opened()
        restored = await as_alice.post(f"{path}/restore", {})
        assert (restored.status, restored.json()["title"]) == (200, "Hello")
        assert (await socket.frame())["type"] == "conversation"  # other tabs list it again
    assert await listed(as_alice) == ["Hello"]
    read = (await as_alice.get(path)).json()
    assert [each["role"] for each in read["messages"]["items"]] == ["user", "assistant"]
    events = await as_alice.ask("and more", conversation=read["id"])
    assert events[-2].name == "run.completed"


async def test_after_ten_minutes_it_is_gone(as_alice: Client) -> None:
    path = await deleted(as_alice)
    await Conversation.objects.aupdate(deleted_at=timezone.now() - timedelta(minutes=10, seconds=1))
    assert (await as_alice.post(f"{path}/restore", {})).status == 404
    assert await listed(as_alice) == []


async def test_only_what_is_deleted_can_be_restored(as_alice: Client) -> None:
    path = await deleted(as_alice)
    assert (await as_alice.post(f"{path}/restore", {})).status == 200
    assert (await as_alice.post(f"{path}/restore", {})).status == 404


async def test_what_the_deletion_stopped_and_withdrew_stays_so(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Text("shown"), Hold(), Text(" never shown")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as asked:
        conversation = (await asked.until("text"))[0].json()["conversation"]
        later = {"query": "later", "conversation": conversation, "if_busy": "queue"}
        assert (await as_alice.post("/chat/stream", later)).status == 202
        path = f"/api/v1/conversations/{conversation}"
        assert (await as_alice.request("DELETE", path)).status == 204
        assert (await as_alice.post(f"{path}/restore", {})).status == 200
        assert (await asked.all_events())[-2].name == "run.stopped"
    await supervisor.idle()
    assert await Run.objects.values_list("status", "reply__text").aget() == ("stopped", "shown")
    assert not await QueuedAsk.objects.aexists()


async def test_it_is_undone_by_a_form_without_scripts(as_alice: Client) -> None:
    conversation = (await as_alice.ask("<b>Hello</b>"))[0].json()["conversation"]
    gone = await as_alice.request("POST", f"/chat/{conversation}/delete/", form={})
    assert (gone.status, gone.headers["location"]) == (303, f"/?deleted={conversation}")
    page = await as_alice.get(gone.headers["location"])
    assert "“&lt;b&gt;Hello&lt;/b&gt;” is deleted." in page.body.decode()
    back = await as_alice.request("POST", f"/chat/{conversation}/restore/", form={})
    assert (back.status, back.headers["location"]) == (303, f"/chat/{conversation}/")
    assert (await as_alice.get(back.headers["location"])).status == 200
    assert "is deleted" not in (await as_alice.get(gone.headers["location"])).body.decode()


@pytest.mark.parametrize("named", ["", "word", "00000000-0000-0000-0000-000000000000"])
async def test_the_page_offers_nothing_for_another_id(as_alice: Client, named: str) -> None:
    page = await as_alice.get(f"/?deleted={named}")
    assert page.status == 200
    assert "is deleted" not in page.body.decode()


async def test_nobody_restores_anothers_conversation(as_alice: Client, as_bob: Client, bob: Any) -> None:
    path = await deleted(as_alice)
    assert (await as_bob.post(f"{path}/restore", {})).status == 404
    page = await as_bob.get(f"/?deleted={path.rpartition('/')[2]}")
    assert "Hello" not in page.body.decode()
    assert await sync_to_async(Conversation.objects.filter(deleted_at=None).count)() == 0
