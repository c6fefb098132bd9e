"""The start of a run, which its ask has claimed: it is executed once, whatever happens after the commit."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError

from chat import actions
from chat.models import Run
from chat.runs.execution import prepare_run
from chat.runs.supervisor import supervisor
from chat.runs.sweep import sweep
from chat.stream import admission
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Text
from tests.support.sse_client import text_of
from tests.support.waiting import auntil

Setter = Callable[[Callable[[], None]], None]


@pytest.fixture
def after_commit(monkeypatch: pytest.MonkeyPatch) -> Setter:
    """Return a function that sets what the ask's thread does between the commit and the launch."""

    def set_action(action: Callable[[], None]) -> None:
        def act_and_prepare(*args: Any, **kwargs: Any) -> Any:
            action()
            return prepare_run(*args, **kwargs)

        monkeypatch.setattr(admission, "prepare_run", act_and_prepare)

    return set_action


async def ended_run() -> Run:
    run: Run = await auntil(Run.objects.select_related("reply").exclude(ended_at=None).afirst)
    return run


async def test_a_sweep_between_commit_and_launch_leaves_the_run_alone(
    as_alice: Client, gemini: Gemini, after_commit: Setter
) -> None:
    loop = asyncio.get_running_loop()
    after_commit(lambda: asyncio.run_coroutine_threadsafe(sweep(supervisor), loop).result(20))
    # By the form, whose thread is not the one that a sweep needs on SQLite.
    async with as_alice.open("POST", "/chat/", form={"query": "hello"}) as asked:
        assert asked.status == 303
    run = await ended_run()
    assert run.reply
    assert (run.status, run.attempt, run.epoch) == ("completed", 1, 1)
    assert run.reply.text == "You said: hello"
    assert gemini.calls_for("hello") == 1
    await oracle.acheck()


async def test_a_run_goes_on_whose_client_left_between_commit_and_launch(
    as_alice: Client, after_commit: Setter
) -> None:
    committed, left = threading.Event(), threading.Event()

    def wait_for_the_client() -> None:
        committed.set()
        left.wait(20)

    after_commit(wait_for_the_client)

    async def ask() -> None:
        async with as_alice.open("POST", "/chat/stream", json_body={"query": "hello"}):
            pass

    asking = asyncio.ensure_future(ask())
    await asyncio.to_thread(committed.wait, 20)
    asking.cancel()
    await asyncio.wait([asking])
    left.set()
    run = await ended_run()
    assert (run.status, run.attempt) == ("completed", 1)
    await oracle.acheck()


async def test_a_run_that_could_not_be_launched_is_begun_by_the_sweep(
    as_alice: Client, after_commit: Setter
) -> None:
    def lose_the_database() -> None:
        raise OperationalError("away")

    after_commit(lose_the_database)
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "hello"}) as asked:
        seen = await asked.all_events()
    assert text_of(seen) == "You said: hello"
    run = await ended_run()
    assert (run.status, run.attempt) == ("completed", 1)
    await oracle.acheck()


async def test_a_stop_between_commit_and_launch_stops_the_run(
    as_alice: Client, gemini: Gemini, after_commit: Setter
) -> None:
    gemini.on("slow", [Text("half"), Hold()])
    after_commit(lambda: actions._store_stop_request(Run.objects.get().pk))
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as asked:
        seen = await asked.all_events()
    assert seen[-2].name == "run.stopped"
    await oracle.acheck()


async def test_a_refused_ask_reserves_no_run(as_alice: Client) -> None:
    async with as_alice.open("POST", "/chat/stream", json_body={"query": " "}) as asked:
        assert asked.status == 422
    await auntil(lambda: not supervisor._reserved)
