"""The server dies in the middle of an answer and comes back; the page does not need to be told."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, said, settled, stored
from tests.gemini import Call, Gemini, Hold, Text
from tests.live import LiveServer


@pytest.fixture
def frail(gemini_server: Gemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(
        tmp_path_factory.mktemp("frail"), GOOGLE_API_KEY="not-a-key", GOOGLE_GEMINI_BASE_URL=gemini_server.url
    )
    yield server.prepare().start()
    if server.process:
        server.kill()


def test_after_a_crash_the_page_shows_the_whole_answer_by_itself(
    visit: Visit, frail: LiveServer, gemini: Gemini, sign_up: SignUp
) -> None:
    gemini.on("Tell me", [Text("Once upon"), Hold()], [Text("There was "), Hold(), Text("a king")])
    alice = sign_up(frail, "alice")
    page = visit(alice, expect_faults=["ERR_"])
    page.goto("/")
    ask(page, "Tell me")
    live = page.locator("article.live .prose")
    expect(live).to_have_text("Once upon")
    frail.kill()
    expect(page.locator("#connection")).to_have_text("Reconnecting…")
    expect(live).to_have_text("Once upon")
    frail.start()
    expect(live).to_have_text("There was ")  # begun again: the old words are gone
    expect(page.locator("#connection")).to_be_empty()
    gemini.release()
    settled(page)
    assert said(page) == ["Tell me", "There was a king"]
    assert stored(alice, conversation_of(page)) == ["Tell me", "There was a king"]


def test_what_a_tool_may_have_done_is_not_done_twice(
    visit: Visit, frail: LiveServer, gemini: Gemini, sign_up: SignUp
) -> None:
    gemini.on("6*7?", [Call("calculate", {"expression": "6*7"})], [Text("It is"), Hold()])
    alice = sign_up(frail, "alice")
    page = visit(alice, expect_faults=["ERR_"])
    page.goto("/")
    ask(page, "6*7?")
    expect(page.locator("article.live .prose")).to_have_text("It is")
    frail.kill()
    frail.start()
    expect(page.locator(".ending")).to_have_text("The server was interrupted while this answer was written.")
    assert said(page) == ["6*7?", "It is"]
    gemini.on("6*7?", [Text("It is 42.")])
    page.get_by_role("button", name="Retry").click()
    page.get_by_role("dialog", name="Answer this again?").get_by_role("button", name="Retry").click()
    expect(page.locator("article.assistant .prose")).to_have_text("It is 42.")
