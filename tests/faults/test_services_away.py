"""Outage of PostgreSQL or Redis: 503 with Retry-After within three seconds, and recovery afterwards."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.conf import settings

from tests.support.gemini import Gemini, Pause, Text
from tests.support.live import PASSWORD, LiveServer, Member, read_to_done
from tests.support.relay import Relay
from tests.support.sse_client import text_of
from tests.support.waiting import until

SECONDS = 6.0  # twice the promised three, for busy machines

ServerAndRelay = tuple[LiveServer, Relay]


@pytest.fixture
def without_postgres(
    tmp_path: Path, gemini: Gemini, live_database: dict[str, str]
) -> Iterator[ServerAndRelay]:
    if settings.ON_SQLITE:
        pytest.skip("SQLite is a file")
    url = urlsplit(live_database["DATABASE_URL"])
    host = (
        parse_qs(url.query)
        .get("host", [url.hostname or "127.0.0.1"])[0]
        .replace("%2F", "/")
        .replace("%2f", "/")
    )
    port = url.port or 5432
    relay = Relay(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port))
    user = url.netloc.rpartition("@")[0]
    through = f"postgres://{user and user + '@'}127.0.0.1:{relay.port}{url.path}"
    yield from start_server(tmp_path, gemini, relay, {**live_database, "DATABASE_URL": through})


@pytest.fixture
def without_redis(tmp_path: Path, gemini: Gemini, live_database: dict[str, str]) -> Iterator[ServerAndRelay]:
    if not settings.REDIS_URL:
        pytest.skip("there is no Redis")
    url = urlsplit(settings.REDIS_URL)
    relay = Relay((url.hostname or "127.0.0.1", url.port or 6379))
    through = f"redis://127.0.0.1:{relay.port}{url.path}"
    yield from start_server(tmp_path, gemini, relay, {**live_database, "REDIS_URL": through})


def start_server(
    tmp_path: Path, gemini: Gemini, relay: Relay, env: dict[str, str]
) -> Iterator[ServerAndRelay]:
    live = LiveServer(tmp_path, None, GOOGLE_API_KEY="x", GOOGLE_GEMINI_BASE_URL=gemini.url, **env)
    live.prepare().start()
    yield live, relay
    gemini.release()
    if live.process:
        live.kill()


def assert_refused_in_time(answer: httpx.Response) -> None:
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True), answer.text[:300]
    assert answer.elapsed.total_seconds() < SECONDS


def test_each_request_gets_503_in_time_without_postgres(without_postgres: ServerAndRelay) -> None:
    server, postgres = without_postgres
    alice, visitor = server.member("alice"), Member(server.url)
    visitor.http.get("/accounts/login/")
    postgres.go_away()
    for path in ("/", "/?find=x", f"/chat/{'0' * 8}/", "/admin/", "/accounts/email/", "/accounts/login/"):
        answer = alice.http.get(path)
        assert_refused_in_time(answer)
        assert "That did not work" in answer.text
    for path in ("/api/v1/conversations", "/readyz", f"/chat/runs/{'0' * 8}/events"):
        answer = alice.http.get(path)
        assert_refused_in_time(answer)
        assert answer.json()["error"]["code"] == "unavailable"
    assert_refused_in_time(alice.http.post("/chat/stream", json={"query": "x"}, headers=alice.headers()))
    assert_refused_in_time(sign_in(visitor))
    assert server.output().count("Traceback") == 0, server.output()
    assert alice.http.get("/healthz").status_code == 200
    postgres.come_back()
    until(lambda: alice.http.get("/").status_code == 200, 20)


def sign_in(member: Member) -> httpx.Response:
    form = {"login": "alice", "password": PASSWORD, "csrfmiddlewaretoken": member.http.cookies["csrftoken"]}
    return member.http.post("/accounts/login/", data=form, headers={"Referer": member.url})


def test_postgres_is_used_again_soon_after_a_long_outage(without_postgres: ServerAndRelay) -> None:
    server, postgres = without_postgres
    alice = server.member("alice")
    postgres.go_away()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert_refused_in_time(alice.http.get("/api/v1/conversations"))
    postgres.come_back()
    back = time.monotonic()
    until(lambda: alice.http.get("/").status_code == 200, 20)
    assert time.monotonic() - back < 12, "the pool would try again after 16 s"


def test_a_run_waits_for_postgres(without_postgres: ServerAndRelay, gemini: Gemini) -> None:
    server, postgres = without_postgres
    alice = server.member("alice")
    gemini.on("slow", [step for n in range(20) for step in (Text(f"word{n} "), Pause(0.1))])
    with alice.ask("slow") as stream:
        seen = stream.until("text")
        postgres.go_away()
        time.sleep(6)
        postgres.come_back()
        seen += stream.all_events(may_break=True)  # the reader's own query may fail: reconnect, as clients do
    until(lambda: alice.http.get("/readyz").status_code == 200, 20)
    read_to_done(alice, seen)
    assert text_of(seen) == "".join(f"word{n} " for n in range(20))


def test_only_sign_in_gets_503_without_redis(without_redis: ServerAndRelay, gemini: Gemini) -> None:
    server, redis = without_redis
    alice, visitor = server.member("alice"), Member(server.url)
    visitor.http.get("/accounts/login/")
    redis.go_away()
    assert_refused_in_time(sign_in(visitor))
    assert_refused_in_time(sign_in(visitor))
    assert alice.http.get("/").status_code == 200
    with alice.ask("hello") as stream:
        seen = stream.all_events()
    assert seen[-1].is_done
    redis.come_back()
    assert sign_in(visitor).status_code == 302
