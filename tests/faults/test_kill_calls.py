"""``kill -9`` and drains of servers with calls: no word is lost, and the call is resumed elsewhere."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.call_pages import Page, conversation_of, last_turn, new_server
from tests.support.gemini import Pause
from tests.support.gemini_live import (
    GeminiLive,
    GenerationComplete,
    Sound,
    Spoken,
    TurnComplete,
)
from tests.support.live import LiveServer, Member, check_with_oracle
from tests.support.sse_client import text_of
from tests.support.waiting import until

RESUME_SECONDS = 5.0
CALLS = 10  # at the same time, in a drain
LONG = [Spoken("One "), Sound(100), Spoken("two "), Sound(100), Pause(60), Spoken("never")]


@pytest.fixture
def model() -> Iterator[GeminiLive]:
    speaking = GeminiLive()
    yield speaking
    speaking.close()


@pytest.fixture
def server(tmp_path: Path, model: GeminiLive, live_database: dict[str, str]) -> Iterator[LiveServer]:
    live = new_server(tmp_path, model, live_database)
    live.start()
    yield live
    model.release()
    if live.process:
        live.stop()


def shown_by(member: Member, run: str, words: str) -> str:
    """Read the captions of a turn up to these words."""
    with member.follow(run) as stream:
        return text_of(stream.until(lambda seen: words in text_of(seen)))


def turn_into_trouble(page: Page, member: Member, model: GeminiLive) -> str:
    """Speak, and let the model begin a long answer, of which a second tab has read the captions."""
    model.on("Tell me a story", LONG)
    page.speak("Tell me a story")
    run: str = page.until("run")["run"]
    assert shown_by(member, run, "two ") == "One two "
    return run


def resume(member: Member, conversation: str, call: str, killed_at: float) -> None:
    """Resume a call at this member's server, and speak on."""
    with member.call(conversation, call) as socket:
        page = Page(socket)
        assert page.call == call
        page.send(type="text", text="Go on")
        page.until("run")
        assert time.monotonic() - killed_at < RESUME_SECONDS
        page.until("turn")
    assert last_turn(member, conversation) == ("Go on", "completed", None, "You said: Go on")


def check_story(member: Member, conversation: str) -> None:
    found = member.http.get(f"/api/v1/conversations/{conversation}").json()["messages"]["items"]
    texts = [message["text"] for message in found]
    assert texts[2:] == ["Tell me a story", "One two ", "Go on", "You said: Go on"]


def test_a_killed_server_loses_no_word_and_resumes_its_calls_after_its_restart(
    server: LiveServer, model: GeminiLive
) -> None:
    alice = server.member("alice")
    conversation = conversation_of(alice)
    with alice.call(conversation) as socket:
        page = Page(socket)
        run = turn_into_trouble(page, alice, model)
        server.kill()
    server.start()
    killed_at = time.monotonic()
    until(lambda: alice.http.get(f"/api/v1/runs/{run}").json()["status"] == "stopped", within=RESUME_SECONDS)
    assert last_turn(alice, conversation) == ("Tell me a story", "stopped", "interrupted", "One two ")
    resume(alice, conversation, page.call, killed_at)
    assert model.connections[-1].handle
    check_story(alice, conversation)
    check_with_oracle(server, [])


@pytest.mark.skipif(settings.ON_SQLITE, reason="only one server can use a database file")
def test_a_call_of_a_killed_server_goes_on_at_another(
    server: LiveServer, tmp_path: Path, model: GeminiLive, live_database: dict[str, str]
) -> None:
    # Its own limit of a dead process is never reached: who resumes the call ends the turn.
    other = new_server(tmp_path / "other", model, live_database, DEAD_AFTER_SECONDS="60").start()
    try:
        alice = server.member("alice")
        conversation = conversation_of(alice)
        with alice.call(conversation) as socket:
            page = Page(socket)
            turn_into_trouble(page, alice, model)
            server.kill()
        resume(alice.at(other.url), conversation, page.call, time.monotonic())
        assert model.connections[-1].handle
        check_story(alice.at(other.url), conversation)
        check_with_oracle(other, [])
    finally:
        other.stop()


@pytest.mark.timeout(300)
def test_a_drain_under_ten_calls_loses_no_word(server: LiveServer, model: GeminiLive) -> None:
    # Half of the calls are in the middle of an answer; the others wait for their members.
    words = [f"word{n} " for n in range(20)]
    answer = [step for word in words for step in (Spoken(word), Sound(100), Pause(0.1))]
    model.on("Tell me a story", [*answer, GenerationComplete(), TurnComplete()])
    members = [server.member(f"member{n}") for n in range(CALLS)]
    conversations = [conversation_of(member) for member in members]
    with ExitStack() as sockets:
        pages = [
            Page(sockets.enter_context(member.call(conversation)))
            for member, conversation in zip(members, conversations, strict=True)
        ]
        for page in pages[::2]:
            page.speak("Tell me a story")
        for page in pages[::2]:
            page.until("run")
        assert server.stop() == 0
        codes = [page.close_code() for page in pages]
    assert codes == [1012] * CALLS
    assert [page.frames[-1] for page in pages] == [{"type": "resuming"}] * CALLS
    server.start()
    for member, conversation in list(zip(members, conversations, strict=True))[::2]:
        assert last_turn(member, conversation) == ("Tell me a story", "completed", None, "".join(words))
    for member, conversation, page in zip(members, conversations, pages, strict=True):
        resume(member, conversation, page.call, time.monotonic())
    spoke = [connection for connection in model.connections if connection.audio]
    assert len(spoke) == CALLS / 2
    assert sum(bool(connection.handle) for connection in model.connections) == CALLS / 2
    check_with_oracle(server, [])
