"""The content of /metrics, and the clients that may read it."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import prometheus_client
import pytest
from django.conf import settings as django_settings

from chat.instruments import metrics
from chat.runs.supervisor import supervisor
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Status, Text
from tests.support.live import LiveServer
from tests.support.waiting import until
from tests.test_strangers import shape

LINE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")


def values(text: str) -> dict[str, float]:
    """Return each sample of a page in Prometheus' format: ``name{labels}`` and its value."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            name = match["name"] + (f"{{{match['labels']}}}" if match["labels"] else "")
            found[name] = float(match["value"])
    return found


async def read(client: Client) -> dict[str, float]:
    answer = await client.get("/metrics")
    assert answer.status == 200
    return values(answer.text)


def grown(before: dict[str, float], after: dict[str, float], name: str) -> float:
    return after.get(name, 0) - before.get(name, 0)


# --- content ----------------------------------------------------------------------------------------


async def test_a_run_is_counted_by_its_end_its_first_text_and_its_deltas(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("Hello", [Text("Hel"), Text("lo "), Text("wörld")])
    before = await read(as_alice)
    await as_alice.ask("Hello")
    after = await read(as_alice)
    for name, expected in {
        "parley_first_token_seconds_count": 1,
        "parley_delta_bytes_count": 3,
        "parley_delta_bytes_sum": len("Hello wörld".encode()),
        "parley_delta_gap_seconds_count": 2,
        'parley_run_seconds_count{code="",status="completed"}': 1,
        'parley_responses_total{status="2xx"}': 2,  # the read before, and the answer
    }.items():
        assert grown(before, after, name) == expected, name
    commits = grown(before, after, "parley_journal_commit_seconds_count")
    assert commits >= 1
    assert grown(before, after, "parley_journal_batch_events_count") == commits
    assert grown(before, after, "parley_journal_batch_events_sum") >= 1


async def test_a_failed_run_is_counted_with_its_code(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("too much", [Status(429, "RESOURCE_EXHAUSTED")])
    before = await read(as_alice)
    await as_alice.ask("too much")
    after = await read(as_alice)
    name = 'parley_run_seconds_count{code="rate_limited",status="failed"}'
    assert grown(before, after, name) == 1


async def test_streams_and_runs_are_counted_while_they_are_open(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Text("half"), Hold(), Text(" and half")])
    before = await read(as_alice)
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as asked:
        await anext(asked.events())
        during = await read(as_alice)
        gemini.release()
        await asked.all_events()
    await supervisor.idle()
    after = await read(as_alice)
    for name in ("parley_active_runs", "parley_open_streams"):
        assert grown(before, during, name) == 1, name
        assert after[name] == before[name], name


async def test_a_refused_request_is_counted_by_its_code(as_alice: Client) -> None:
    before = await read(as_alice)
    assert (await as_alice.post("/chat/stream", {"query": " "})).status == 422
    assert (await as_alice.get("/api/v1/runs/nothing")).status == 404
    after = await read(as_alice)
    assert grown(before, after, 'parley_refusals_total{code="blank"}') == 1
    assert grown(before, after, 'parley_refusals_total{code="not_found"}') == 1


async def test_process_and_version_are_reported(visitor: Client) -> None:
    found = await read(visitor)
    assert found[f'parley_info{{version="{django_settings.VERSION}"}}'] == 1
    assert found["parley_process_resident_memory_bytes"] > 10_000_000
    assert all(name.startswith("parley_") for name in found)


@pytest.mark.any_database
def test_a_client_that_does_not_read_shows_in_the_unsent_bytes(tmp_path: Path, gemini: Gemini) -> None:
    """This needs a real server, because its connections are measured."""
    gemini.on("long", [Text("x" * 900_000)])
    server = LiveServer(
        tmp_path, GOOGLE_API_KEY="not-a-key", GOOGLE_GEMINI_BASE_URL=gemini.url, STALL_SECONDS="60"
    )
    server.prepare().start()
    try:
        member = server.member("alice")

        def read_live(name: str) -> float:
            return values(httpx.get(f"{server.url}/metrics", timeout=60).text)[name]

        with member.socket():
            assert read_live("parley_unsent_bytes") == 0
            assert read_live("parley_open_sockets") == 1
        with member.ask("long") as stream:
            assert stream.response.status_code == 200
            until(
                lambda: read_live("parley_unsent_bytes") and read_live("parley_paused_connections"),
                otherwise=lambda: "nothing was ever unsent",
            )
            assert read_live("parley_unsent_bytes") <= 2 * 262_144
        until(
            lambda: not read_live("parley_unsent_bytes"),
            otherwise=lambda: "what a closed connection held is still counted",
        )
    finally:
        server.kill()


def test_an_observation_costs_less_than_half_of_prometheus_clients() -> None:
    bounds = metrics.delta_gap_seconds.bounds
    ours = metrics.Histogram("parley_test", "", bounds).observe
    theirs = prometheus_client.Histogram("parley_test", "", buckets=bounds, registry=None).observe
    rounds = [(_seconds_of(ours), _seconds_of(theirs)) for _round in range(5)]
    our_best, their_best = map(min, zip(*rounds, strict=True))
    assert our_best < their_best / 2  # measured: a fifteenth


def _seconds_of(observe: Callable[[float], object]) -> float:
    began = time.process_time()
    for _observation in range(10_000):
        observe(0.031)
    return time.process_time() - began


def test_a_histogram_bucket_includes_its_upper_bound() -> None:
    histogram = metrics.Histogram("parley_test", "", (1, 2))
    for value in (0.5, 1, 1.5, 2, 99):
        histogram.observe(value)
    assert histogram.cumulated() == [("1", 2), ("2", 4), ("+Inf", 5)]
    assert histogram.sum == 104


# --- access -----------------------------------------------------------------------------------------


def from_peer(client: Client, address: str | None) -> Client:
    """Return a client of the same user at another address."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        peer = None if address is None else (address, 1)
        await client.application({**scope, "client": peer}, receive, send)

    other = Client(application, client.user)
    other.cookies, other.csrf = client.cookies, client.csrf
    return other


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_may_read_the_metrics(visitor: Client, address: str) -> None:
    assert (await from_peer(visitor, address).get("/metrics")).status == 200


@pytest.mark.parametrize("address", ["10.0.0.7", "192.168.1.1", "2001:db8::1", "::ffff:10.0.0.7", None])
async def test_other_machines_may_not_read_the_metrics(visitor: Client, address: str | None) -> None:
    assert (await from_peer(visitor, address).get("/metrics")).status == 404


@pytest.mark.parametrize(
    "name",
    ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "X-Real-IP", "Via", "CF-Connecting-IP"],
)
async def test_a_proxied_request_does_not_count_as_this_machines(visitor: Client, name: str) -> None:
    assert (await visitor.get("/metrics", headers={name: "127.0.0.1"})).status == 404


async def test_an_allowed_network_may_read_but_not_through_a_proxy(visitor: Client, settings: Any) -> None:
    from ipaddress import ip_network

    settings.METRICS_ALLOW = [ip_network("10.0.0.0/24"), ip_network("2001:db8::/32")]
    for address, status in {"10.0.0.7": 200, "10.0.1.7": 404, "2001:db8::1": 200, "::1": 200}.items():
        assert (await from_peer(visitor, address).get("/metrics")).status == status, address
    proxied = from_peer(visitor, "10.0.0.7")
    assert (await proxied.get("/metrics", headers={"X-Forwarded-For": "10.0.0.9"})).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_for_others_the_answer_equals_that_of_a_missing_page(
    visitor: Client, as_alice: Client, method: str
) -> None:
    for client in (from_peer(visitor, "203.0.113.9"), from_peer(as_alice, "203.0.113.9")):
        for csrf in (True, False):
            one = await client.request(method, "/metrics", csrf=csrf)
            other = await client.request(method, "/metricz", csrf=csrf)
            assert one.status == 404
            assert shape(one) == shape(other)


async def test_the_metrics_are_read_only(visitor: Client) -> None:
    assert (await visitor.post("/metrics", {})).status == 405
