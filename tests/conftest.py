"""Fixtures for all tests: alice and bob are members, mona and stella moderators. Only the model is a fake."""

import asyncio
import os
import secrets
import signal
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings

from tests.support.client import Client
from tests.support.gemini import Gemini
from tests.support.gemini_live import GeminiLive

PASSWORD = "correct horse battery"

# A shell starts background jobs with SIGINT ignored. Servers and commands that tests start would inherit
# that, and lose a Ctrl-C that comes before they have set a handler.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Close all connections to the test database at the end, so that it can be dropped."""
    yield
    from django.db import connection

    if settings.ON_SQLITE:
        connection.close()
        return
    # Threads that live on, such as asgiref's own, keep connections open that are no longer used.
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]


@pytest.fixture(scope="session", autouse=True)
def keep_permissions_when_emptying() -> Iterator[None]:
    """Empty the database after a test as Django does, but keep the groups and permissions of the migrations.

    Django creates them again each time, which takes 60 of the 65 ms. Only a test that changes them pays that.
    """
    from django.db import connection
    from django.test import TransactionTestCase

    from tests.support.guards import without_guards

    original: list[tuple[str, str]] = []
    kept = {"auth_group", "auth_group_permissions", "auth_permission", "django_content_type"}
    empty_as_django_does = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]

    def groups() -> list[tuple[str, str]]:
        from django.contrib.auth.models import Group

        return list(
            Group.objects.values_list("name", "permissions__codename").order_by("name", "permissions")
        )

    def empty(case: TransactionTestCase) -> None:
        from chat.moderation.models import AuditEvent

        # An empty table has no rows for which the triggers would fire.
        is_guarded = AuditEvent.objects.exists() or original != groups()
        with without_guards() if is_guarded else nullcontext():
            empty_all(case)

    def empty_all(case: TransactionTestCase) -> None:
        if not original or original != groups():
            empty_as_django_does(case)
            original[:] = groups()
            return
        tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
        # Not TRUNCATE: it makes PostgreSQL create new files for each table and index, which takes 60 ms.
        emptied = [connection.ops.quote_name(name) for name in tables if name not in kept]
        connection.ops.execute_sql_flush([f"DELETE FROM {name}" for name in emptied])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty)
        yield


@pytest.fixture(scope="session")
def gemini_server() -> Iterator[Gemini]:
    server = Gemini()
    os.environ["GOOGLE_GEMINI_BASE_URL"] = server.url
    yield server
    server.close()


@pytest.fixture
def gemini(gemini_server: Gemini) -> Iterator[Gemini]:
    """Return the server that plays Gemini, and reset it after the test."""
    yield gemini_server
    gemini_server.reset()


@pytest.fixture(scope="session")
def gemini_live_server() -> Iterator[GeminiLive]:
    server = GeminiLive()
    yield server
    server.close()


@pytest.fixture
def gemini_live(
    gemini_live_server: GeminiLive, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GeminiLive]:
    """Return the server that plays Gemini over TLS, also live. Ask for it before ``parley``."""
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", gemini_live_server.url)
    yield gemini_live_server
    gemini_live_server.reset()


def make_user(name: str, **fields: Any) -> Any:
    from accounts.models import User

    return User.objects.create_user(name, f"{name}@example.org", PASSWORD, **fields)


@pytest.fixture
def alice(transactional_db: None) -> Any:
    return make_user("alice")


@pytest.fixture
def bob(transactional_db: None) -> Any:
    return make_user("bob")


def make_staff(name: str, *groups: str) -> Any:
    """Return a new member of the staff, in these groups."""
    from django.contrib.auth.models import Group

    member = make_user(name, is_staff=True)
    member.groups.set(Group.objects.filter(name__in=groups))
    assert member.groups.count() == len(groups)
    return member


@pytest.fixture
def mona(transactional_db: None) -> Any:
    from chat.moderation.groups import MODERATOR

    return make_staff("mona", MODERATOR)


@pytest.fixture
def stella(transactional_db: None) -> Any:
    from chat.moderation.groups import SENIOR

    return make_staff("stella", SENIOR)


@pytest.fixture
async def parley(transactional_db: None, gemini: Gemini) -> AsyncIterator[Any]:
    """Return the application, with its supervisor running in this test's event loop."""
    from chat.agent.agents import catalog
    from chat.runs.supervisor import supervisor
    from config.asgi import application

    await catalog.close()  # agents built with another test's settings
    await supervisor.start()
    yield application
    for run_id in list(supervisor.runs):
        supervisor.stop_run(run_id)
    gemini.release()
    await supervisor.idle()
    await supervisor.shut_down()


@pytest.fixture
async def as_alice(parley: Any, alice: Any) -> Client:
    return await Client(parley, alice).sign_in()


@pytest.fixture
async def as_bob(parley: Any, bob: Any) -> Client:
    return await Client(parley, bob).sign_in()


@pytest.fixture
async def visitor(parley: Any) -> Client:
    return Client(parley)


@pytest.fixture
def fresh_limits(settings: Any) -> None:
    """Start the counts of sign-in attempts at zero."""
    # A new prefix: clearing the cache would empty Redis for the tests that run at the same time, too.
    own = settings.CACHES["default"]
    prefix = f"{own.get('KEY_PREFIX', '')}-{secrets.token_hex(4)}"
    settings.CACHES = {"default": {**own, "KEY_PREFIX": prefix}}


@pytest.fixture
def agent_files(tmp_path: Path, settings: Any) -> Iterator[Callable[[dict[str, str]], Path]]:
    """Return a function that makes an AGENTS_DIR: ``agent_files({"name/agent.py": text})``.

    The agents are not loaded yet.
    """
    from chat.agent.agents import catalog

    folder = tmp_path / "agents"
    folder.mkdir()
    before = set(os.environ)

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        settings.AGENTS_DIR = folder
        async_to_sync(catalog.close)()
        return folder

    yield write
    for name in set(os.environ) - before:  # set by an agent's .env
        del os.environ[name]
    settings.AGENTS_DIR = None
    async_to_sync(catalog.close)()


@pytest.fixture
async def write_agents(
    agent_files: Callable[[dict[str, str]], Path], parley: Any
) -> Callable[[dict[str, str]], Awaitable[None]]:
    """Return ``agent_files`` as a coroutine function, for use while the application runs."""
    from chat.agent.agents import catalog

    async def write(files: dict[str, str]) -> None:
        await catalog.close()
        await asyncio.to_thread(agent_files, files)

    return write
