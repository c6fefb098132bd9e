"""A chat in a terminal when something dies: the command, or the server that answers it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gemini import Gemini, Pause, Text
from tests.live import LiveServer, check_with_oracle, read, read_to_done
from tests.sse_client import SseEvent, text_of
from tests.terminal import Terminal, chat_piped

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def server(tmp_path: Path, gemini: Gemini, live_database: dict[str, str]) -> Iterator[LiveServer]:
    """A running server at which alice has signed up."""
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


def at_the_first_text(server: LiveServer, gemini: Gemini) -> Terminal:
    """A terminal with an answer under way, whose next attempt will be whole."""
    gemini.on("slow", [Text("half"), Pause(60), Text(" never")], [Text("whole")])
    terminal = Terminal(server)
    terminal.expect("You: ")
    terminal.type("slow\n")
    terminal.expect(": half")
    return terminal


def test_a_command_that_is_killed_loses_nothing(server: LiveServer, gemini: Gemini) -> None:
    alice = server.member("alice")
    server.stop()
    terminal = at_the_first_text(server, gemini)
    assert "This command answers." in terminal.text
    terminal.kill()
    server.start()
    [item] = alice.http.get("/api/v1/conversations").json()["items"]
    run = alice.http.get(f"/api/v1/conversations/{item['id']}").json()["messages"]["items"][0]["run"]
    seen: list[SseEvent] = []
    with alice.follow(run) as response:
        read(response, seen)
    read_to_done(alice, seen)
    assert text_of(seen) == "whole"
    check_with_oracle(server, [seen])
    terminal.close()


def test_a_command_that_is_killed_is_taken_up_by_the_next_one(server: LiveServer, gemini: Gemini) -> None:
    server.member("alice").http.close()
    server.stop()
    terminal = at_the_first_text(server, gemini)
    terminal.kill()
    terminal.close()
    time.sleep(2.5)  # DEAD_AFTER_SECONDS, and a little
    gemini.on("wait", [Text("so long"), Pause(2), Text(".")])
    assert chat_piped(server, "wait\n").stdout == "so long.\n"
    check_with_oracle(server, [])


def test_the_command_goes_on_where_its_server_was_killed(server: LiveServer, gemini: Gemini) -> None:
    server.member("alice").http.close()
    terminal = at_the_first_text(server, gemini)
    assert "A running Parley answers." in terminal.text
    server.kill()
    terminal.expect("[begun again]")
    terminal.expect("whole")
    terminal.expect("You: ", times=2)
    terminal.type("exit\n")
    assert terminal.exit_code() == 0
    check_with_oracle(server, [])
    terminal.close()
    server.start()  # nothing of the terminal is left in its way


def test_the_command_goes_on_where_its_server_was_told_to_end(server: LiveServer, gemini: Gemini) -> None:
    server.member("alice").http.close()
    terminal = at_the_first_text(server, gemini)
    assert server.stop() == 0
    terminal.expect("whole")
    terminal.expect("You: ", times=2)
    terminal.close()
    check_with_oracle(server, [])


def test_a_server_that_restarts_finds_its_place_free(server: LiveServer, gemini: Gemini) -> None:
    server.env["QUEUED_MAX_SECONDS"] = "20"
    server.stop()
    server.start()
    server.member("alice").http.close()
    terminal = at_the_first_text(server, gemini)
    server.stop()
    server.start()
    terminal.expect("whole")
    terminal.expect("You: ", times=2)
    terminal.close()
    check_with_oracle(server, [])
