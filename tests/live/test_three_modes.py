"""The three modes of one agent in one conversation: streamed, whole, and spoken."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.call_pages import Page, last_turn, new_server
from tests.support.gemini import Text
from tests.support.gemini_live import GeminiLive, Sound, Spoken, TurnComplete
from tests.support.live import LiveServer, Member, check_with_oracle


@pytest.fixture
def model() -> Iterator[GeminiLive]:
    speaking = GeminiLive()
    yield speaking
    speaking.close()


@pytest.fixture
def server(tmp_path: Path, model: GeminiLive, live_database: dict[str, str]) -> Iterator[LiveServer]:
    live = new_server(tmp_path, model, live_database).start()
    yield live
    live.stop()


def texts_of_newest_request(model: GeminiLive) -> list[str]:
    contents = model.requests[-1]["contents"]
    return [part["text"] for content in contents for part in content["parts"] if "text" in part]


def speak(alice: Member, conversation: str, words: str) -> None:
    with alice.call(conversation) as socket:
        page = Page(socket)
        page.speak(words)
        page.until("turn")


def test_streamed_whole_and_spoken_turns_share_a_conversation(server: LiveServer, model: GeminiLive) -> None:
    alice = server.member("alice")
    model.on("One?", [Text("First, "), Text("streamed.")])
    model.on("Two?", [Text("Second, whole.")])
    model.on("Three?", [Spoken("Third, "), Sound(40), Spoken("spoken."), Sound(40), TurnComplete()])
    with alice.ask("One?") as stream:
        streamed = stream.all_events()
    conversation = streamed[0].json()["conversation"]
    with alice.ask("Two?", conversation=conversation, stream=False) as whole:
        assert "Second, whole." in whole.response.read().decode()
    speak(alice, conversation, "Three?")
    assert last_turn(alice, conversation) == ("Three?", "completed", None, "Third, spoken.")
    with alice.ask("Four?", conversation=conversation) as stream:
        streamed += stream.all_events()
    before = ["One?", "First, streamed.", "Two?", "Second, whole."]
    assert [text for _role, text in model.connections[-1].contents] == before
    assert texts_of_newest_request(model) == [*before, "Three?", "Third, spoken.", "Four?"]
    found = alice.http.get(f"/api/v1/conversations/{conversation}").json()["messages"]["items"]
    modes = [
        alice.http.get(f"/api/v1/runs/{each['run']}").json()["mode"]
        for each in found
        if each["role"] == "assistant"
    ]
    assert modes == ["sse", "none", "live", "sse"]
    check_with_oracle(server, [])
