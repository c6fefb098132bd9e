"""Where a request runs: on the event loop, or in one hop to a thread of a bounded pool."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.core.checks import run_checks
from django.core.signals import request_finished, request_started
from django.urls import path

from chat.database import REQUEST_THREADS
from tests.http import routes
from tests.support.client import Client

ROUTES = "tests.http.routes"


@pytest.fixture
async def visitor(parley: Any, settings: Any) -> Client:
    settings.ROOT_URLCONF = ROUTES
    return Client(parley)


async def thread_of(visitor: Client, route: str) -> str:
    return str((await visitor.get(route)).json()["thread"])


async def test_an_asynchronous_view_runs_on_the_event_loop(visitor: Client) -> None:
    assert await thread_of(visitor, "/test/loop") == threading.current_thread().name


async def test_a_synchronous_view_that_waits_for_nothing_runs_on_the_event_loop(visitor: Client) -> None:
    assert await thread_of(visitor, "/test/at-once") == threading.current_thread().name


async def test_many_requests_at_once_share_the_threads_of_the_pool(visitor: Client) -> None:
    asked = [thread_of(visitor, "/test/thread") for _ in range(4 * REQUEST_THREADS)]
    names = set(await asyncio.gather(*asked))
    assert all(name.startswith("request_") for name in names)
    assert len(names) <= REQUEST_THREADS


async def test_a_redirect_is_sent_although_the_database_is_lost_while_it_waits(visitor: Client) -> None:
    answer = await visitor.get("/test/redirect-after")
    assert (answer.status, answer.headers["location"]) == (303, "/elsewhere/")


@pytest.fixture
def signalled() -> Iterator[list[str]]:
    """Return the names of the threads on which Django's signals of a request were sent."""
    names: list[str] = []

    def note(**kwargs: Any) -> None:
        names.append(threading.current_thread().name)

    request_started.connect(note)
    request_finished.connect(note)
    yield names
    request_started.disconnect(note)
    request_finished.disconnect(note)


async def test_the_signals_of_a_request_are_sent_on_its_thread(visitor: Client, signalled: list[str]) -> None:
    answer = await visitor.get("/test/thread")
    assert signalled == [answer.json()["thread"]] * 2


async def test_a_session_that_changes_on_the_event_loop_is_saved(
    as_alice: Client, settings: Any, alice: Any
) -> None:
    """A new SECRET_KEY changes each session at its next request."""
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "n" * 60
    before = as_alice.cookies["sessionid"]
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "hello"}) as asked:
        assert asked.status == 200
        cookie = asked.headers["set-cookie"]
        await asked.all_events()
    assert cookie.startswith("sessionid=")
    key = cookie.removeprefix("sessionid=").partition(";")[0]
    assert key != before

    def stored_hash() -> str:
        return str(SessionStore(key)[HASH_SESSION_KEY])

    assert await sync_to_async(stored_hash)() == alice.get_session_auth_hash()


def found(code: str) -> list[str]:
    return [each.msg for each in run_checks() if each.id == code]


def test_a_check_refuses_an_asynchronous_view_without_the_mark(settings: Any, monkeypatch: Any) -> None:
    assert found("chat.E002") == []
    settings.ROOT_URLCONF = ROUTES
    assert found("chat.E002") == []
    monkeypatch.setattr(routes, "urlpatterns", [path("bad", routes.unmarked), *routes.urlpatterns])
    settings.ROOT_URLCONF = "config.urls"  # Django caches what a module has
    settings.ROOT_URLCONF = ROUTES
    assert found("chat.E002") == [
        "The view of 'bad' is asynchronous, and runs on a thread, which would wait for it."
    ]


class OnlyAsync:
    sync_capable, async_capable = False, True


class OnlySync:
    sync_capable, async_capable = True, False


@pytest.mark.parametrize("name", ["OnlyAsync", "OnlySync"])
def test_a_check_refuses_a_middleware_that_runs_only_one_way(settings: Any, name: str) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.{name}"]
    assert len(found("chat.E001")) == 1
