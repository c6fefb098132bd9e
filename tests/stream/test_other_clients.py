"""Third-party clients and bare sockets against a real server."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx_sse
import pytest

from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer

pytestmark = pytest.mark.any_database


@pytest.fixture
def server(tmp_path: Path, gemini: Gemini) -> Iterator[LiveServer]:
    """Start a server on SQLite on every run of the test matrix: these tests are about the wire."""
    live = LiveServer(tmp_path, GOOGLE_API_KEY="x", GOOGLE_GEMINI_BASE_URL=gemini.url).prepare().start()
    yield live
    gemini.release()
    if live.process:
        live.stop()


def test_httpx_sse_reads_the_stream_of_a_post(server: LiveServer, gemini: Gemini) -> None:
    gemini.on("Explain", [Text("Quantum "), Text("computing\n\n"), Text("is → odd.")])
    alice = server.member("alice")
    text, names, last = "", [], ""
    body = {"query": "Explain"}
    with httpx_sse.connect_sse(
        alice.http, "POST", "/chat/stream", json=body, headers=alice.headers()
    ) as source:
        for event in source.iter_sse():
            names.append(event.event)
            last = event.data
            if event.event == "message" and event.data != "[DONE]":
                text += json.loads(event.data)["text"]
            assert event.id
            assert event.retry in (None, 2000)
    assert text == "Quantum computing\n\nis → odd."
    assert last == "[DONE]"
    assert names[0] == "run.started"
    assert names[-2:] == ["run.completed", "message"]


def test_httpx_sse_makes_no_event_of_a_heartbeat(tmp_path: Path, gemini: Gemini) -> None:
    live = LiveServer(
        tmp_path, GOOGLE_API_KEY="x", GOOGLE_GEMINI_BASE_URL=gemini.url, STREAM_HEARTBEAT_SECONDS="0.1"
    )
    live.prepare().start()
    alice = live.member("alice")
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    seen = []
    try:
        with httpx_sse.connect_sse(
            alice.http, "POST", "/chat/stream", json={"query": "slow"}, headers=alice.headers()
        ) as source:
            threading.Timer(1.0, gemini.release).start()
            for event in source.iter_sse():
                assert event.data
                seen.append(event)
    finally:
        live.stop()
    assert seen[-1].data == "[DONE]"


def test_a_bare_socket_receives_the_first_line_immediately(server: LiveServer, gemini: Gemini) -> None:
    gemini.on("slow", [Hold(), Text("late")])
    alice = server.member("alice")
    cookies = "; ".join(f"{name}={value}" for name, value in alice.http.cookies.items())
    body = b'{"query": "slow"}'
    head = (
        f"POST /chat/stream HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nCookie: {cookies}\r\n"
        f"X-CSRFToken: {alice.http.cookies['csrftoken']}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        got = b""
        while b"run.started" not in got:
            got += connection.recv(4096)
    headers, _, rest = got.partition(b"\r\n\r\n")
    assert b"200 OK" in headers
    assert b"retry: 2000\n" in rest
    gemini.release()


def test_two_questions_on_one_connection(server: LiveServer) -> None:
    """With keep-alive, the second request must not see leftovers of the first."""
    alice = server.member("alice")
    for n in range(5):
        with alice.ask(f"question {n}") as stream:
            assert stream.all_events()[-1].is_done
            assert stream.response.status_code == 200
    assert len(alice.http.get("/api/v1/conversations").json()["items"]) == 5


def test_garbage_on_the_port_does_not_disturb_other_clients(server: LiveServer) -> None:
    for garbage in (
        b"\x00" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /chat/stream HTTP/1.1\r\n",
        b"\r\n" * 50,
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(garbage)
    alice = server.member("alice")
    with alice.ask("hello") as stream:
        assert stream.all_events()[-1].is_done
    assert "Traceback" not in server.output()
