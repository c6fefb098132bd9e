"""``manage.py serve``: start, shutdown, and clients that misbehave."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.commands import ROOT
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer, Member
from tests.support.sse_client import text_of
from tests.support.waiting import until

pytestmark = pytest.mark.any_database

Serve = Callable[..., LiveServer]


@pytest.fixture
def serve(tmp_path: Path, gemini: Gemini) -> Iterator[Serve]:
    """Return a function that starts a server whose model is ``gemini``; its arguments are settings."""
    servers = []

    def start(**env: str) -> LiveServer:
        env = {"GOOGLE_API_KEY": "not-a-key", "GOOGLE_GEMINI_BASE_URL": gemini.url, **env}
        server = LiveServer(tmp_path, port=None, **env).prepare()
        servers.append(server)
        return server.start()

    yield start
    gemini.release()
    for server in servers:
        if server.process:
            server.kill()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start one server for all tests that only send requests to it."""
    server = LiveServer(tmp_path_factory.mktemp("shared_server")).prepare().start()
    yield server
    assert server.stop() == 0
    assert_quiet(server)


def is_ready(server: LiveServer) -> bool:
    return httpx.get(f"{server.url}/readyz").status_code == 200


def signalled(server: LiveServer, number: int) -> None:
    assert server.process
    server.process.send_signal(number)


def exit_code(server: LiveServer, *, within: float) -> int:
    """Return the server's exit code, which must come within ``seconds``."""
    assert server.process
    code = server.process.wait(within)
    server.process = None
    return code


def assert_quiet(server: LiveServer) -> None:
    assert "Traceback" not in server.output(), server.output()
    assert "ERROR" not in server.output(), server.output()


# --- the start --------------------------------------------------------------------------------


def test_the_first_start_prints_the_address_and_the_owners_link(shared_server: LiveServer) -> None:
    assert f"serves {shared_server.url}/" in shared_server.output()
    link = re.search(rf"{shared_server.url}/accounts/set-up/\S+/", shared_server.output())
    assert link
    assert (shared_server.data_dir / "setup-token").stat().st_mode & 0o777 == 0o600
    assert httpx.get(link[0]).status_code == 200
    assert httpx.get(f"{link[0][:-2]}/").status_code == 404


def test_a_later_start_is_fast_and_keeps_all_data(serve: Serve, gemini: Gemini) -> None:
    server = serve()
    alice = server.member("alice")
    with alice.ask("remember me") as stream:
        stream.all_events()
    assert server.stop() == 0
    began = time.monotonic()
    assert server.manage("prepare").stdout == "", "there is nothing to prepare"
    server.start()
    assert time.monotonic() - began < 15  # 3 s on two idle cores
    kept = alice.http.get("/api/v1/conversations").json()["items"]
    assert [conversation["title"] for conversation in kept] == ["remember me"]


def test_a_second_server_on_the_same_data_is_refused(shared_server: LiveServer) -> None:
    second = LiveServer(shared_server.data_dir).manage("serve")
    assert second.returncode == 1
    assert second.stderr.startswith("CommandError: Another Parley server is using ")
    assert second.stderr.count("\n") == 1
    assert httpx.get(f"{shared_server.url}/readyz").status_code == 200


def test_an_unprepared_database_is_one_sentence(tmp_path: Path) -> None:
    done = LiveServer(tmp_path).manage("serve")
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: The database cannot be used: no such table")
    assert done.stderr.endswith("`manage.py prepare` brings it up to date.\n")


def test_it_listens_on_ipv6(tmp_path: Path) -> None:
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback address")
    server = LiveServer(tmp_path, HOST="::1").prepare()
    server.url = f"http://[::1]:{server.port}"
    try:
        server.start()
        assert f"serves http://[::1]:{server.port}/" in server.output()
        assert httpx.get(f"{server.url}/", follow_redirects=True).status_code == 200
    finally:
        assert server.stop() == 0


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


# --- shutdown ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_immediately(serve: Serve, number: int) -> None:
    server = serve()
    signalled(server, number)
    assert exit_code(server, within=5) == 0
    assert_quiet(server)


@pytest.mark.parametrize("after", [0.2, 0.5, 0.8, 1.2, 1.6])
def test_a_signal_during_the_start_ends_the_server_without_a_traceback(tmp_path: Path, after: float) -> None:
    server = LiveServer(tmp_path).prepare()
    command = [sys.executable, "manage.py", "serve"]
    with subprocess.Popen(command, cwd=ROOT, env=server.env, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(after)
        process.send_signal(signal.SIGINT)
        words = process.communicate(timeout=20)[1]
    assert process.returncode in (0, 130, -signal.SIGINT)  # before Python, in the imports, in the command
    assert "Traceback" not in words


def test_a_running_reply_is_finished_before_the_server_ends(serve: Serve, gemini: Gemini) -> None:
    gemini.on("slow", [Text("half"), Hold(), Text(" and half")])
    server = serve()
    alice, bob = server.member("alice"), server.member("bob")
    with alice.ask("slow") as stream:
        seen = stream.until("text")
        signalled(server, signal.SIGTERM)
        until(lambda: not is_ready(server), 5)
        ready = httpx.get(f"{server.url}/readyz")
        assert (ready.status_code, "retry-after" in ready.headers) == (503, True)
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        refused = bob.http.post("/chat/stream", json={"query": "me too"}, headers=bob.headers())
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        gemini.release()
        seen += stream.all_events()
    assert text_of(seen) == "half and half"
    assert seen[-2].name == "run.completed"
    assert seen[-1].is_done
    assert exit_code(server, within=10) == 0
    assert_quiet(server)


def test_a_reply_longer_than_the_drain_is_finished_after_the_restart(serve: Serve, gemini: Gemini) -> None:
    gemini.on("slow", [Text("half"), Hold()], [Text("whole")])
    server = serve(DRAIN_SECONDS="1")
    alice = server.member("alice")
    with alice.ask("slow") as stream:
        seen = stream.until("text")
        signalled(server, signal.SIGTERM)
        assert exit_code(server, within=10) == 0
        seen += stream.all_events(may_break=True)
    assert not any(event.is_done for event in seen)
    assert_quiet(server)
    server.start()
    with alice.follow(seen[0].run, seen[-1].id) as stream:
        seen += stream.all_events()
    assert text_of(seen) == "whole"
    assert seen[-2].name == "run.completed"
    run = alice.http.get(f"/api/v1/runs/{seen[0].run}").json()
    assert run["attempt"] == 1, "a hand-over is no death"


def test_a_second_signal_hands_runs_over_immediately(serve: Serve, gemini: Gemini) -> None:
    gemini.on("slow", [Text("half"), Hold()])
    server = serve(DRAIN_SECONDS="60")
    alice = server.member("alice")
    with alice.ask("slow") as stream:
        stream.until("text")
        signalled(server, signal.SIGINT)
        until(lambda: not is_ready(server), 5)
        signalled(server, signal.SIGINT)
        assert exit_code(server, within=8) == 0
    assert_quiet(server)


def test_half_a_request_does_not_delay_the_shutdown(serve: Serve) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"POST /chat/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        with httpx.Client(base_url=server.url) as idle:
            idle.get("/healthz")  # and a connection that is kept alive
            signalled(server, signal.SIGTERM)
            assert exit_code(server, within=5) == 0
    assert_quiet(server)


# --- clients that don't behave ----------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory from /proc")
def test_clients_that_do_not_read_cost_no_memory_and_are_closed(serve: Serve, gemini: Gemini) -> None:
    """Twenty clients, a reply of 4 MiB: without back-pressure the server grows by 90 MB."""
    pieces = [Text("x" * 8192)] * 512
    gemini.on("long", pieces)
    gemini.on("long, while some don't read", [Text("go"), Hold(), *pieces])
    server = serve(LIMITS="off", REPLY_MAX_BYTES="8000000", STALL_SECONDS="2")
    alice = server.member("alice")
    for _ in range(2):  # the memory that a reply of this length needs anyway
        with alice.ask("long") as stream:
            stream.all_events()
    with alice.ask("long, while some don't read") as stream:
        run = stream.until("text")[0].run
    stalled = [_stalled_reader(server, alice, run) for _ in range(20)]
    before = _peak_memory(server)
    gemini.release()
    with alice.follow(run) as stream:
        assert len(text_of(stream.all_events())) == 4 * 1024 * 1024 + 2
    assert _peak_memory(server) - before < 40_000
    until(lambda: server.output().count("took nothing for 2 s and was closed") == 20, 15, server.output)
    for reader in stalled:
        reader.close()
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    assert_quiet(server)


def _stalled_reader(server: LiveServer, member: Member, run: str) -> socket.socket:
    """Return a connection that follows the run and never reads. The kernel may buffer 4 KiB for it."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", server.port))
    cookies = "; ".join(f"{name}={value}" for name, value in member.http.cookies.items())
    reader.sendall(
        f"GET /chat/runs/{run}/events HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\n\r\n".encode()
    )
    assert reader.recv(15) == b"HTTP/1.1 200 OK"
    return reader


def _peak_memory(server: LiveServer) -> int:
    """Return the server's peak resident memory in KiB."""
    assert server.process
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1])


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "in chunks"])
def test_a_ten_megabyte_body_is_refused_by_the_application_and_not_kept(
    shared_server: LiveServer, chunked: bool
) -> None:
    alice = shared_server.member(f"alice-{chunked}")
    before = _written(shared_server)
    part = b'{"query": "' + b"x" * (1024 * 1024)
    body = (part for _ in range(10)) if chunked else part * 10
    headers = {"Content-Type": "application/json"} | alice.headers()
    answer = alice.http.post("/chat/stream", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert _written(shared_server) - before < 3 * 1024 * 1024
    visitor = httpx.post(f"{shared_server.url}/chat/stream", content=part * 10, headers=headers)
    assert visitor.status_code == 401, "the member is checked first"
    assert alice.http.get("/api/v1/conversations").json()["items"] == []


def _written(server: LiveServer) -> int:
    """Return the bytes that the server wrote to files so far."""
    assert server.process
    found = re.search(r"wchar: (\d+)", Path(f"/proc/{server.process.pid}/io").read_text())
    assert found
    return int(found[1])


def test_an_endless_body_is_cut_off(shared_server: LiveServer) -> None:
    sent = 0
    with socket.create_connection(("127.0.0.1", shared_server.port), timeout=30) as endless:
        endless.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        try:
            while sent < 100:
                endless.sendall(chunk)
                sent += 1
        except ConnectionError:
            pass  # the expected outcome
    assert sent < 100
    assert httpx.get(f"{shared_server.url}/healthz").status_code == 200


# --- the model --------------------------------------------------------------------------------------

MODELS = {
    "Gemini": ({}, "Answers come from gemini-2.5-flash."),
    "no account": (
        {"GOOGLE_API_KEY": ""},
        "Answers come from the demo model. Set GOOGLE_API_KEY, or CHAT_MODEL, for a real one.",
    ),
    "Ollama, without its password": (
        {"CHAT_MODEL": "ollama_chat/llama3.2", "CHAT_API_BASE": "http://owner:word@127.0.0.1:11434"},
        "Answers come from ollama_chat/llama3.2 at http://127.0.0.1:11434.",
    ),
    "a name of no provider": ({"CHAT_MODEL": "llama"}, "CHAT_MODEL=llama cannot answer."),
}


@pytest.mark.parametrize(("env", "sentence"), MODELS.values(), ids=list(MODELS))
def test_the_start_says_which_model_answers(serve: Serve, env: dict[str, str], sentence: str) -> None:
    server = serve(**env)
    assert sentence in server.output()
    assert server.stop() == 0


def test_litellm_logs_only_through_parleys_log(serve: Serve) -> None:
    """Its own handler writes each record again, as text, and ADK points it to stdout."""
    server = serve(CHAT_MODEL="openai/any-model", LOG_LEVEL="INFO", LOG_FORMAT="json")
    assert '"logger": "LiteLLM"' in server.output()
    assert "LiteLLM:INFO" not in server.output()
    assert server.stop() == 0
