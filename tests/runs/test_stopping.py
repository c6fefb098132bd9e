"""Stops before the first token, in the middle, during a tool and after the end; and deletion."""

import asyncio
import time
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from chat import lifecycle, log
from chat.actions import Ask, send_message
from chat.endings import End
from chat.events import STOPPED, Fold, Row, text
from chat.lifecycle import Claim
from chat.models import Conversation, Message, Process, Run
from chat.runs import follow, pending
from chat.runs.stopping import STOP_SECONDS
from chat.runs.supervisor import supervisor
from tests.support import oracle
from tests.support.campaigns import trials
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Pause, Text, questions_of
from tests.support.sse_client import terminal_of, text_of
from tests.support.talk import use_tools
from tests.support.waiting import auntil


async def test_a_stop_keeps_the_text_that_was_shown(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Text("shown"), Hold(), Text(" never")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        seen = await exchange.until("text")
        answer = await as_alice.post(f"/chat/runs/{seen[0].run}/stop")
        seen += await exchange.all_events()
    assert answer.status == 200
    assert answer.json() == {
        "run": seen[0].run,
        "status": "stopped",
        "seq": seen[-1].seq - 1,
        "text_length": len("shown"),
    }
    end = terminal_of(seen)
    assert end.name == "run.stopped"
    assert end.json()["code"] is None
    assert end.json()["detail"]
    assert await Run.objects.values_list("status", "reply__text").aget() == ("stopped", "shown")
    await oracle.acheck([seen])


async def test_the_text_shown_before_a_stop_is_what_the_model_sees_next(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("slow", [Text("shown"), Hold(), Text(" never")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        seen = await exchange.until("text")
        await as_alice.post(f"/chat/runs/{seen[0].run}/stop")
    await as_alice.ask("and then?", conversation=seen[0].json()["conversation"])
    assert questions_of(gemini.requests[-1]) == [("user", "slow"), ("model", "shown"), ("user", "and then?")]


@pytest.mark.parametrize("way", ["stop", "deletion"])
async def test_a_run_is_stopped_without_polling_for_requests(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(pending, "REQUEST_SECONDS", 60)
    gemini.on("slow", [Text("shown"), Hold(), Text(" never")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        seen = await exchange.until("text")
        await asyncio.sleep(0.6)  # the last poll at the usual interval
        if way == "stop":
            await as_alice.post(f"/chat/runs/{seen[0].run}/stop")
        else:
            await as_alice.request("DELETE", f"/api/v1/conversations/{seen[0].json()['conversation']}")
        async with asyncio.timeout(STOP_SECONDS):
            seen += await exchange.all_events()
    assert terminal_of(seen).name == "run.stopped"


async def test_a_stop_before_the_first_token_ends_the_run(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Hold(), Text("never")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        seen = await exchange.until("run.started")
        await auntil(lambda: gemini.calls_for("slow"))
        answer = await as_alice.post(f"/chat/runs/{seen[0].run}/stop")
        seen += await exchange.all_events()
    assert answer.json()["status"] == "stopped"
    assert answer.json()["text_length"] == 0
    assert terminal_of(seen).json()["message"] is None
    await oracle.acheck([seen])


async def test_a_stop_during_a_tool_ends_the_run(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(place: str) -> None:
        """Take 60 s."""
        await asyncio.sleep(60)

    await use_tools(monkeypatch, slow)
    gemini.on("tool", [Text("Let me look."), Call("slow", {"place": "Lagos"})], [Text("never")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "tool"}) as exchange:
        seen = await exchange.until("tool.called")
        answer = await as_alice.post(f"/chat/runs/{seen[0].run}/stop")
        seen += await exchange.all_events()
    assert answer.json()["status"] == "stopped"
    assert text_of(seen) == "Let me look."
    await oracle.acheck([seen])
    await as_alice.ask("again", conversation=seen[0].json()["conversation"])
    parts = [part for content in gemini.requests[-1]["contents"] for part in content["parts"]]
    calls = [part for part in parts if "functionCall" in part]
    results = [part for part in parts if "functionResponse" in part]
    assert len(calls) == len(results) == 1  # the call is not left open


async def test_a_queued_run_can_be_stopped(as_alice: Client, alice: Any) -> None:
    supervisor.draining = True
    asked = await sync_to_async(send_message)(alice, Ask(query="queued"), agents=["chat_assistant"])
    answer = await as_alice.post(f"/chat/runs/{asked.pk}/stop")
    supervisor.draining = False
    assert answer.json() == {"run": str(asked.pk), "status": "stopped", "seq": 2, "text_length": 0}
    events = (await as_alice.get(f"/chat/runs/{asked.pk}/events")).events
    assert [event.name for event in events] == ["run.started", "run.stopped", ""]
    await oracle.acheck([events])


@pytest.mark.parametrize("ends", ["while the stop waits", "before the stop waits"])
async def test_a_stop_reads_only_the_end_of_a_long_log(
    as_alice: Client, alice: Any, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Another process executes the run, whose log has 5,000 events."""
    read: list[Row] = []

    def read_and_count(*args: Any) -> list[Row]:
        rows = log.read_log(*args)
        read.extend(rows)
        return rows

    def end(claim: Claim) -> None:
        lifecycle.end(claim, lifecycle.Outcome(End(STOPPED)), Fold([text("x")] * 5000))

    def last_seq_and_end(run_id: uuid.UUID) -> int:
        end(claim)
        return log.last_seq(run_id)

    monkeypatch.setattr(follow, "read_log", read_and_count)
    monkeypatch.setattr(supervisor, "draining", True)  # this process claims no run by itself
    asked = await sync_to_async(send_message)(alice, Ask(query="elsewhere"), agents=["chat_assistant"])
    # A sweep of this process may still be under way, and would take over a run of its own.
    other = await Process.objects.acreate(host="h", pid=1, boot_id="b", version="v")
    claimed = await sync_to_async(lifecycle.claim)(asked.pk, other.pk)
    assert claimed
    claim = claimed[0]
    await sync_to_async(log.append)(asked.pk, [text("x")] * 5000)
    if ends == "before the stop waits":
        monkeypatch.setattr(follow, "last_seq", last_seq_and_end)
    stopping = asyncio.ensure_future(as_alice.post(f"/chat/runs/{asked.pk}/stop"))
    if ends == "while the stop waits":
        await auntil(lambda: read)
        await sync_to_async(end)(claim)
    async with asyncio.timeout(STOP_SECONDS - 1):
        assert (await stopping).json()["status"] == "stopped"
    assert len(read) <= 3
    await oracle.acheck()


async def test_a_stop_after_the_end_changes_nothing(as_alice: Client) -> None:
    events = await as_alice.ask("hello")
    first = await as_alice.post(f"/chat/runs/{events[0].run}/stop")
    second = await as_alice.post(f"/chat/runs/{events[0].run}/stop")
    assert first.status == second.status == 200
    assert first.json() == second.json()
    assert first.json()["status"] == "completed"
    assert (await as_alice.get(f"/chat/runs/{events[0].run}/events")).events == events


async def test_a_deleted_conversation_ends_its_run_and_is_gone(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Text("shown"), Hold(), Text(" never")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        seen = await exchange.until("text")
        conversation = seen[0].json()["conversation"]
        answer = await as_alice.request("DELETE", f"/api/v1/conversations/{conversation}")
        seen += await exchange.all_events()
    assert answer.status == 204
    assert terminal_of(seen).name == "run.stopped"
    assert terminal_of(seen).json()["code"] == "deleted"
    for path in (f"/api/v1/conversations/{conversation}", f"/chat/runs/{seen[0].run}/events"):
        assert (await as_alice.get(path)).status == 404
    assert (await as_alice.get("/api/v1/conversations")).json()["items"] == []
    assert (await Conversation.objects.aget()).deleted_at
    assert await Message.objects.acount() == 2  # kept for retention


async def test_stops_race_the_last_token(as_alice: Client, gemini: Gemini, settings: Any) -> None:
    settings.LIMITS = False
    gemini.on("alone", [Text("a"), Text("b")])
    began = time.monotonic()
    ends = [await as_alice.ask("alone")]
    alone = min(0.2, time.monotonic() - began)
    for n in range(trials(100, sample=40)):
        gemini.on(f"race {n}", [Text("a"), Pause(alone), Text("b")])
        async with as_alice.open("POST", "/chat/stream", json_body={"query": f"race {n}"}) as exchange:
            seen = await exchange.until("run.started")
            reading = asyncio.ensure_future(exchange.all_events())
            await asyncio.sleep(n % 20 / 7 * alone)  # from its first moment to after its end
            answer = await as_alice.post(f"/chat/runs/{seen[0].run}/stop")
            seen += await reading
        assert f"run.{answer.json()['status']}" == terminal_of(seen).name
        ends.append(seen)
    assert {terminal_of(seen).name for seen in ends[1:]} == {"run.stopped", "run.completed"}
    await oracle.acheck(ends)
