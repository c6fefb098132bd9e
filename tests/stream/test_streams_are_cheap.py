"""Open streams and sockets use one or two tasks, but no thread and no database connection."""

import asyncio
import gc
import threading
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import connection

from chat.events import COMPLETED, Row
from chat.runs.follow import follow
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Text
from tests.support.sse_client import text_of
from tests.support.waiting import auntil

STREAMS = 50
BURST = 300
THREADS_MAX = 40
ASKS = 20  # twice as many as connections in the pool
SOCKETS = 200


@pytest.fixture
def without_limits(settings: Any) -> None:
    settings.LIMITS = False


def database_connections() -> int:
    """Return the number of connections that this process has to its database."""
    if settings.ON_SQLITE:
        database = Path(str(settings.DATABASES["default"]["NAME"])).resolve()
        files = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return files.count(database)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        row: tuple[int] = cursor.fetchone()
        return row[0]


@contextmanager
def peak_of_threads() -> Iterator[list[int]]:
    """Yield a list that has, after the block, the largest number of this process's threads in it."""
    seen, done = [0], threading.Event()

    def sample() -> None:
        while not done.wait(0.002):
            seen[0] = max(seen[0], threading.active_count())

    sampling = threading.Thread(target=sample)
    sampling.start()
    try:
        yield seen
    finally:
        done.set()
        sampling.join()


def requests_in_memory() -> int:
    gc.collect()
    return sum(type(each) is ASGIRequest for each in gc.get_objects())  # isinstance would wake lazy objects


async def test_a_burst_of_streams_takes_no_thread_each(
    as_alice: Client, gemini: Gemini, without_limits: None
) -> None:
    async def follow_to_the_end(run: str) -> str:
        async with as_alice.open("GET", f"/chat/runs/{run}/events") as stream:
            seen = await stream.until("text")
            has_text.release()
            return text_of(seen + await stream.all_events())

    gemini.on("slow", [Text("half"), Hold(), Text(" and half")])
    has_text = asyncio.Semaphore(0)
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as asked:
        run = (await asked.until("text"))[0].run
        with peak_of_threads() as peak:
            readers = [asyncio.ensure_future(follow_to_the_end(run)) for _ in range(BURST)]
            for _ in readers:
                await has_text.acquire()
            gemini.release()
            assert await asyncio.gather(*readers) == ["half and half"] * BURST
    assert peak[0] <= THREADS_MAX


async def test_a_stream_does_not_keep_its_request(
    as_alice: Client, gemini: Gemini, without_limits: None
) -> None:
    gemini.on("slow", [Text("half"), Hold(), Text(" and half")])
    async with AsyncExitStack() as stack:
        asked = await stack.enter_async_context(
            as_alice.open("POST", "/chat/stream", json_body={"query": "slow"})
        )
        run, before = (await asked.until("text"))[0].run, requests_in_memory()
        for _ in range(STREAMS):
            stream = await stack.enter_async_context(as_alice.open("GET", f"/chat/runs/{run}/events"))
            await stream.until("text")
        assert requests_in_memory() - before <= 3
        gemini.release()
        await asked.all_events()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
async def test_fifty_idle_streams_use_no_thread_and_no_database_connection(
    as_alice: Client, gemini: Gemini, without_limits: None
) -> None:
    gemini.on("slow", [Text("half"), Hold(), Text(" and half")])
    async with AsyncExitStack() as stack:
        asked = await stack.enter_async_context(
            as_alice.open("POST", "/chat/stream", json_body={"query": "slow"})
        )
        run = (await anext(asked.events())).run
        threads, connections = threading.active_count(), await sync_to_async(database_connections)()
        opened = []
        for _ in range(STREAMS):
            stream = await stack.enter_async_context(as_alice.open("GET", f"/chat/runs/{run}/events"))
            assert (await anext(stream.events())).name == "run.started"
            opened.append(stream)
        # The threads of the requests end by themselves.
        await auntil(lambda: threading.active_count() - threads <= 3)
        assert await sync_to_async(database_connections)() - connections <= 3
        gemini.release()
        for stream in opened:
            assert (await stream.all_events())[-1].is_done


async def test_a_waiting_reader_starts_no_task(as_alice: Client, gemini: Gemini) -> None:
    async def read(run: uuid.UUID) -> list[Row]:
        return [row async for batch in follow(run, 0, idle=60) for row in batch]

    gemini.on("slow", [Text("half"), Hold(), Text(" and half")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as asked:
        async for event in asked.events():
            if not event.name:
                break  # the text: the run has started all of its tasks
        run, before = uuid.UUID(event.run), len(asyncio.all_tasks())
        readers = [asyncio.ensure_future(read(run)) for _ in range(STREAMS)]
        await asyncio.sleep(0.2)
        assert len(asyncio.all_tasks()) - before <= STREAMS + 3  # some of the server's tasks come and go
        gemini.release()
        for rows in await asyncio.gather(*readers):
            assert rows[-1].type == COMPLETED


async def test_more_concurrent_asks_than_connections_are_all_answered(
    as_alice: Client, without_limits: None
) -> None:
    answers = await asyncio.gather(*(as_alice.ask(f"question {n}") for n in range(ASKS)))
    assert [text_of(events) for events in answers] == [f"You said: question {n}" for n in range(ASKS)]


async def test_more_concurrent_plain_forms_than_connections_are_all_accepted(
    as_alice: Client, without_limits: None
) -> None:
    form = {"message": "hello"}
    answers = await asyncio.gather(*(as_alice.post("/chat/", form=form) for _ in range(ASKS)))
    assert [answer.status for answer in answers] == [303] * ASKS


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
async def test_two_hundred_sockets_use_no_thread_and_no_database_connection(
    as_alice: Client, without_limits: None
) -> None:
    async with AsyncExitStack() as stack:
        await (await stack.enter_async_context(as_alice.socket())).opened()
        threads, connections = threading.active_count(), await sync_to_async(database_connections)()
        opened = [await stack.enter_async_context(as_alice.socket()) for _ in range(SOCKETS)]
        for socket in opened:
            await socket.opened()
        assert threading.active_count() - threads <= 3
        assert await sync_to_async(database_connections)() - connections <= 3
        await as_alice.ask("Hello")
        for socket in opened:
            assert [frame["type"] for frame in await socket.frames(3)] == ["conversation", "run", "run_ended"]
        assert threading.active_count() - threads <= 3
        assert await sync_to_async(database_connections)() - connections <= 3
