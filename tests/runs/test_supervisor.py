"""Runs that a process picks up: queued for too long, left by a dead process, or given up by an error."""

import asyncio
import json
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from chat import lifecycle
from chat.actions import Ask, send_message
from chat.models import AppState, Process, Run, RunEvent, SessionEvent, UserState
from chat.runs import sweep
from chat.runs.supervisor import supervisor
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Text
from tests.support.sse_client import text_of
from tests.support.waiting import auntil


async def until_ended(run_id: uuid.UUID) -> Run:
    run: Run = await auntil(
        Run.objects.select_related("reply").filter(pk=run_id).exclude(ended_at=None).afirst
    )
    return run


def dead_process() -> Process:
    process = Process.objects.create(host="elsewhere", pid=1, boot_id="b", version="v")
    Process.objects.filter(pk=process.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=1))
    return process


def claimed_run(process: Process, owner: Any, **fields: Any) -> Run:
    """Return a run that this process has claimed before any other one could see it."""
    with transaction.atomic():
        run = send_message(owner, Ask(query="hello"), agents=["chat_assistant"])
        Run.objects.filter(pk=run.pk).update(**fields)
        assert lifecycle.claim(run.pk, process.pk)
    return run


def begun_run(process: Process, owner: Any) -> Run:
    """Return a run that this process has claimed, and whose agent has stored the question."""
    with transaction.atomic():
        run = claimed_run(process, owner)
        question = {"author": "user", "invocationId": "i", "content": {"parts": [{"text": "hello"}]}}
        SessionEvent.objects.create(run=run, position=0, payload=json.dumps(question))
    return run


async def test_a_run_queued_for_too_long_is_claimed(parley: Any, alice: Any) -> None:
    asked = await sync_to_async(send_message)(alice, Ask(query="hello"), agents=["chat_assistant"])
    run = await until_ended(asked.pk)
    assert run.reply
    assert (run.status, run.reply.text) == ("completed", "You said: hello")


async def test_a_dead_processs_run_is_restarted(parley: Any, alice: Any) -> None:
    begun = await sync_to_async(begun_run)(await sync_to_async(dead_process)(), alice)
    run = await until_ended(begun.pk)
    assert run.reply
    assert (run.status, run.attempt, run.reply.text) == ("completed", 2, "You said: hello")
    await oracle.acheck()


async def test_a_dead_processs_run_whose_agent_had_not_started_is_still_the_first_attempt(
    parley: Any, alice: Any
) -> None:
    claimed = await sync_to_async(claimed_run)(await sync_to_async(dead_process)(), alice)
    run = await until_ended(claimed.pk)
    assert run.reply
    assert (run.status, run.attempt, run.reply.text) == ("completed", 1, "You said: hello")
    assert not await RunEvent.objects.filter(run=run, type="replace").aexists()
    await oracle.acheck()


async def test_a_run_that_is_asked_for_while_it_is_taken_over_is_still_executed_once(
    parley: Any, alice: Any, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that resumes launches the run between the take-over's queries."""
    loop, real = asyncio.get_running_loop(), sweep._end_of_orphan

    def launch_meanwhile(run: Run) -> Any:
        loop.call_soon_threadsafe(supervisor.launch, run.pk)
        time.sleep(0.1)
        return real(run)

    monkeypatch.setattr(sweep, "_end_of_orphan", launch_meanwhile)
    gemini.on("hello", [Text("still "), Hold(), Text("here")])
    begun = await sync_to_async(begun_run)(await sync_to_async(dead_process)(), alice)
    await auntil(lambda: gemini.calls_for("hello"))
    assert begun.pk in supervisor.runs
    await supervisor._renew_and_sweep_once()  # would take it over again
    gemini.release()
    run = await until_ended(begun.pk)
    assert run.reply
    assert (run.status, run.attempt, run.reply.text) == ("completed", 2, "still here")


async def test_the_shared_state_of_a_run_that_was_lost_is_kept(parley: Any, alice: Any) -> None:
    begun = await sync_to_async(claimed_run)(await sync_to_async(dead_process)(), alice)
    delta = {"stateDelta": {"user:name": "Ada", "app:greeting": "Hi", "place": "Rome"}}
    call = {"functionCall": {"id": "1", "name": "save", "args": {}}}
    payload = {
        "author": "chat_assistant",
        "invocationId": "i",
        "content": {"parts": [call]},
        "actions": delta,
    }
    await SessionEvent.objects.acreate(run=begun, position=0, payload=json.dumps(payload))
    run = await until_ended(begun.pk)
    assert (run.status, run.code) == ("expired", "lost")
    assert [state.value async for state in UserState.objects.all()] == ['"Ada"']
    assert [state.value async for state in AppState.objects.all()] == ['"Hi"']


async def test_a_dead_processs_run_with_a_stop_request_is_stopped(parley: Any, alice: Any) -> None:
    dead = await sync_to_async(dead_process)()
    begun = await sync_to_async(claimed_run)(dead, alice, stop_requested_at=timezone.now())
    run = await until_ended(begun.pk)
    assert (run.status, run.code) == ("stopped", "")
    await oracle.acheck()


async def test_a_living_processs_run_is_left_alone(parley: Any, alice: Any) -> None:
    living = await Process.objects.acreate(host="elsewhere", pid=1, boot_id="b", version="v")
    begun = await sync_to_async(claimed_run)(living, alice)
    await asyncio.sleep(1)
    assert (await Run.objects.aget()).status == "running"
    await Process.objects.filter(pk=living.pk).adelete()  # now the run has no process at all
    assert (await until_ended(begun.pk)).status == "completed"


async def test_a_run_whose_end_failed_is_restarted_by_the_same_process(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = lifecycle.end, []

    def fails_once(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise RuntimeError("an error of ours")
        return real(*args)

    monkeypatch.setattr(lifecycle, "end", fails_once)
    gemini.on("hello", [Text("once ")], [Text("and "), Text("again")])
    events = await as_alice.ask("hello")
    assert text_of(events) == "and again"
    await oracle.acheck([events])


async def test_a_process_whose_row_was_lost_registers_again(parley: Any) -> None:
    await Process.objects.all().adelete()
    await auntil(lambda: Process.objects.filter(pk__in=[supervisor.id]).aexists(), 5)


async def test_a_stop_recorded_by_another_process_is_seen(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Text("shown"), Hold(), Text("never")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        await exchange.until("text")
        await Run.objects.aupdate(stop_requested_at=timezone.now())  # and the doorbell does not ring
        await exchange.all_events()
    assert await Run.objects.values_list("status", "reply__text").aget() == ("stopped", "shown")
    assert await RunEvent.objects.filter(type="run.stopped").acount() == 1


async def test_a_duty_that_swallows_its_cancellation_does_not_block_the_stop(
    parley: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A duty like this once kept a server from stopping until it was killed."""
    started = asyncio.Event()

    async def swallows_cancellation() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    await supervisor.shut_down()
    monkeypatch.setattr("chat.doorbell.relay", swallows_cancellation)
    await supervisor.start()
    async with asyncio.timeout(10):
        await started.wait()
        await supervisor.shut_down()


async def test_a_background_task_that_fails_starts_again(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew = supervisor._renew_and_sweep_once
    calls: list[None] = []

    async def fails_once() -> None:
        calls.append(None)
        if len(calls) == 1:
            raise RuntimeError("a bug")
        await renew()

    await supervisor.shut_down()
    monkeypatch.setattr(supervisor, "_renew_and_sweep_once", fails_once)
    await supervisor.start()
    await auntil(lambda: len(calls) > 1)
