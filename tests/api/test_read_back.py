"""/api/v1: the stored conversations, messages and runs as docs/streaming.md promises them."""

from datetime import datetime
from typing import Any

import pytest

from chat.agent.live import voices
from chat.models import Message, Run
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Text, Thought


async def test_a_conversation_is_its_active_branch(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("one", [Thought("hm"), Call("calculate", {"expression": "1+1"})], [Text("two")])
    events = await as_alice.ask("one")
    started = events[0].json()
    read = (await as_alice.get(f"/api/v1/conversations/{started['conversation']}")).json()
    question, reply = read["messages"]["items"]
    assert set(read) == {
        "id", "title", "agent", "pinned", "archived", "locked", "head", "active_run", "created_at",
        "updated_at", "is_waiting", "waiting", "queued", "messages",
    }  # fmt: skip
    assert read["head"] == reply["id"]
    assert read["active_run"] is None
    assert read["messages"]["next"] is None
    assert question == {
        "id": started["prompt"],
        "parent": None,
        "siblings": [started["prompt"]],
        "role": "user",
        "agent": None,
        "text": "one",
        "parts": {"v": 1, "items": [{"type": "text", "text": "one"}]},
        "hidden": None,
        "run": started["run"],
        "feedback": None,
        "created_at": question["created_at"],
    }
    assert reply["parent"] == started["prompt"]
    assert reply["role"] == "assistant"
    assert reply["agent"] == "chat_assistant"
    assert reply["run"] == started["run"]
    kinds = [(part["type"], part["agent"]) for part in reply["parts"]["items"]]
    assert kinds == [(kind, "chat_assistant") for kind in ("thought", "tool", "text")]
    assert reply["parts"]["items"][1]["result"] == {"result": 2}


async def test_times_are_rfc_3339_in_utc(as_alice: Client) -> None:
    await as_alice.ask("one")
    item = (await as_alice.get("/api/v1/conversations")).json()["items"][0]
    for name in ("created_at", "updated_at"):
        assert item[name].endswith("Z")
        assert datetime.fromisoformat(item[name])


async def test_the_newest_activity_comes_first_page_by_page(as_alice: Client) -> None:
    ids = [(await as_alice.ask(f"{n}"))[0].json()["conversation"] for n in range(5)]
    await as_alice.ask("again", conversation=ids[0])
    wanted = [ids[0], ids[4], ids[3], ids[2], ids[1]]
    found, cursor = [], ""
    while True:
        page = (await as_alice.get(f"/api/v1/conversations?limit=2{cursor}")).json()
        found += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        assert len(page["items"]) == 2
        cursor = f"&cursor={page['next']}"
    assert found == wanted


async def test_messages_come_newest_page_first_each_in_reading_order(as_alice: Client) -> None:
    conversation = (await as_alice.ask("0"))[0].json()["conversation"]
    for n in range(1, 4):
        await as_alice.ask(f"{n}", conversation=conversation)
    path = f"/api/v1/conversations/{conversation}?limit=3"
    newest = (await as_alice.get(path)).json()["messages"]
    assert [m["text"] for m in newest["items"]] == ["You said: 2", "3", "You said: 3"]
    older = (await as_alice.get(f"{path}&cursor={newest['next']}")).json()["messages"]
    assert [m["text"] for m in older["items"]] == ["1", "You said: 1", "2"]


async def test_a_conversation_names_its_active_run(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        started = (await exchange.until("text"))[0]
        conversation = started.json()["conversation"]
        read = (await as_alice.get(f"/api/v1/conversations/{conversation}")).json()
        assert read["active_run"] == started.run
        assert read["messages"]["items"][0]["run"] == started.run
        run = (await as_alice.get(f"/api/v1/runs/{started.run}")).json()
        assert (run["status"], run["ended_at"]) == ("running", None)
        gemini.release()
        await exchange.all_events()
    assert (await as_alice.get(f"/api/v1/conversations/{conversation}")).json()["active_run"] is None


async def test_a_run_reports_its_outcome(as_alice: Client) -> None:
    events = await as_alice.ask("one")
    read = (await as_alice.get(f"/api/v1/runs/{events[0].run}")).json()
    stored = await Run.objects.aget()
    assert read == {
        "id": str(stored.pk),
        "conversation": str(stored.conversation_id),
        "status": "completed",
        "mode": "sse",
        "attempt": 1,
        "prompt": str(stored.prompt_id),
        "reply": str(stored.reply_id),
        "code": None,
        "model": "fake",
        "usage": stored.usage(),
        "ttft_ms": stored.ttft_ms,
        "duration_ms": stored.duration_ms,
        "deltas": stored.deltas,
        "created_at": read["created_at"],
        "ended_at": read["ended_at"],
    }


async def test_renaming_pinning_and_deleting(as_alice: Client) -> None:
    conversation = (await as_alice.ask("one"))[0].json()["conversation"]
    path = f"/api/v1/conversations/{conversation}"
    changed = (await as_alice.request("PATCH", path, json_body={"title": " A  name ", "pinned": True})).json()
    assert (changed["title"], changed["pinned"]) == ("A name", True)
    assert (await as_alice.request("DELETE", path)).status == 204
    assert (await as_alice.get(path)).status == 404
    assert (await as_alice.request("DELETE", path)).status == 404
    assert await Message.objects.acount() == 2


async def test_the_agents_are_listed(as_alice: Client) -> None:
    items = (await as_alice.get("/api/v1/agents")).json()["items"]
    assert items[0]["name"] == "chat_assistant"
    assert items[0]["available"] is True
    assert items[0]["reason"] is None


async def test_an_agent_says_whether_it_can_speak(as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(agent: str) -> None:
        raise voices.NoVoice("Calls are turned off.")

    answers: list[tuple[Any, tuple[bool, str | None]]] = [
        (lambda agent: None, (True, None)),
        (silent, (False, "Calls are turned off.")),
    ]
    for voice_of, expected in answers:
        monkeypatch.setattr(voices, "voice_of", voice_of)
        item = (await as_alice.get("/api/v1/agents")).json()["items"][0]
        assert (item["live"], item["live_reason"]) == expected
        assert item["available"] is True


async def test_the_api_describes_itself(visitor: Client) -> None:
    described = (await visitor.get("/api/v1/openapi.json")).json()
    assert {
        "/api/v1/conversations",
        "/api/v1/conversations/{conversation}",
        "/api/v1/conversations/{conversation}/artifacts",
        "/api/v1/conversations/{conversation}/export",
        "/api/v1/conversations/{conversation}/restore",
        "/api/v1/decisions",
        "/api/v1/decisions/{decision}/acknowledge",
        "/api/v1/decisions/{decision}/appeal",
        "/api/v1/files",
        "/api/v1/files/{file}",
        "/api/v1/files/{file}/parts/{number}",
        "/api/v1/memories",
        "/api/v1/memories/{memory}",
        "/api/v1/messages/{message}/feedback",
        "/api/v1/messages/{message}/report",
        "/api/v1/queued/{queued}",
        "/api/v1/queued/{queued}/send",
        "/api/v1/reports",
        "/api/v1/requests",
        "/api/v1/requests/{request_id}/decision",
        "/api/v1/runs/{run}",
        "/api/v1/search",
        "/api/v1/agents",
        "/chat/stream",
    } == set(described["paths"])


async def test_the_api_describes_the_fields_of_an_ask(visitor: Client) -> None:
    stream = (await visitor.get("/api/v1/openapi.json")).json()["paths"]["/chat/stream"]
    body = stream["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {
        "query", "message", "conversation", "agent", "client_id", "prompt", "parent", "stream",
        "answers", "if_busy", "files",
    }  # fmt: skip
    assert body["additionalProperties"] is False
    assert [each["name"] for each in stream["get"]["parameters"]] == [
        "query", "message", "conversation", "agent", "client_id"
    ]  # fmt: skip
