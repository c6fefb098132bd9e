"""A chat in a terminal whose command or server is killed or stopped."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gemini import Gemini, Pause, Text
from tests.support.live import LiveServer, check_with_oracle, read_to_done
from tests.support.sse_client import text_of
from tests.support.terminal import Terminal, chat_piped

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def server(tmp_path: Path, gemini: Gemini, live_database: dict[str, str]) -> Iterator[LiveServer]:
    """Start a server."""
    live = LiveServer(
        tmp_path,
        None,
        GOOGLE_API_KEY="x",
        GOOGLE_GEMINI_BASE_URL=gemini.url,
        DRAIN_SECONDS="0.5",
        **live_database,
    )
    live.prepare().start()
    yield live
    gemini.release()
    if live.process:
        live.kill()


def ask_in_terminal(server: LiveServer, gemini: Gemini) -> Terminal:
    """Return a terminal with a partial answer, whose next attempt will be complete."""
    gemini.on("slow", [Text("half"), Pause(60), Text(" never")], [Text("whole")])
    terminal = Terminal(server)
    terminal.expect("You: ")
    terminal.type("slow\n")
    terminal.expect(": half")
    return terminal


def test_a_killed_command_loses_nothing(server: LiveServer, gemini: Gemini) -> None:
    alice = server.member("alice")
    server.stop()
    terminal = ask_in_terminal(server, gemini)
    assert "This command answers." in terminal.text
    terminal.kill()
    server.start()
    [item] = alice.http.get("/api/v1/conversations").json()["items"]
    run = alice.http.get(f"/api/v1/conversations/{item['id']}").json()["messages"]["items"][0]["run"]
    with alice.follow(run) as stream:
        seen = stream.all_events()
    read_to_done(alice, seen)
    assert text_of(seen) == "whole"
    check_with_oracle(server, [seen])
    terminal.close()


def test_the_next_command_takes_over_the_run_of_a_killed_one(server: LiveServer, gemini: Gemini) -> None:
    server.member("alice").http.close()
    server.stop()
    terminal = ask_in_terminal(server, gemini)
    terminal.kill()
    terminal.close()
    time.sleep(2.5)  # DEAD_AFTER_SECONDS is 2
    gemini.on("wait", [Text("so long"), Pause(2), Text(".")])
    assert chat_piped(server, "wait\n").stdout == "so long.\n"
    check_with_oracle(server, [])


def test_a_command_takes_over_the_run_of_its_killed_server(server: LiveServer, gemini: Gemini) -> None:
    server.member("alice").http.close()
    terminal = ask_in_terminal(server, gemini)
    assert "A running Parley answers." in terminal.text
    server.kill()
    terminal.expect("[started again]")
    terminal.expect("whole")
    terminal.expect("You: ", times=2)
    terminal.type("exit\n")
    assert terminal.exit_code() == 0
    check_with_oracle(server, [])
    terminal.close()
    server.start()  # the command holds nothing that blocks a new server


def test_a_command_takes_over_the_run_of_its_stopped_server(server: LiveServer, gemini: Gemini) -> None:
    server.member("alice").http.close()
    terminal = ask_in_terminal(server, gemini)
    assert server.stop() == 0
    terminal.expect("whole")
    terminal.expect("You: ", times=2)
    terminal.close()
    check_with_oracle(server, [])


def test_a_restarted_server_is_not_blocked_by_a_command(server: LiveServer, gemini: Gemini) -> None:
    server.env["QUEUED_MAX_SECONDS"] = "20"
    server.stop()
    server.start()
    server.member("alice").http.close()
    terminal = ask_in_terminal(server, gemini)
    server.stop()
    server.start()
    terminal.expect("whole")
    terminal.expect("You: ", times=2)
    terminal.close()
    check_with_oracle(server, [])
