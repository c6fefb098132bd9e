"""Restart of the server during an answer: the page recovers without a reload."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import (
    SignUp,
    Visit,
    ask,
    conversation_of,
    shown_texts,
    stored_texts,
    wait_until_idle,
)
from tests.support.gemini import Call, Gemini, Hold, Text
from tests.support.live import LiveServer
from tests.support.waiting import until


@pytest.fixture
def own_server(gemini_server: Gemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(
        tmp_path_factory.mktemp("restarts"),
        GOOGLE_API_KEY="not-a-key",
        GOOGLE_GEMINI_BASE_URL=gemini_server.url,
    )
    yield server.prepare().start()
    if server.process:
        server.kill()


def test_the_page_shows_the_whole_answer_after_a_crash(
    visit: Visit, own_server: LiveServer, gemini: Gemini, sign_up: SignUp
) -> None:
    gemini.on("Tell me", [Text("Once upon"), Hold()], [Text("There was "), Hold(), Text("a king")])
    alice = sign_up(own_server, "alice")
    page = visit(alice, expect_faults=["ERR_"])
    page.goto("/")
    ask(page, "Tell me")
    live = page.locator("article.live .prose")
    expect(live).to_have_text("Once upon")
    own_server.kill()
    expect(page.locator("#connection")).to_have_text("Reconnecting…")
    expect(live).to_have_text("Once upon")
    own_server.start()
    expect(live).to_have_text("There was ")  # the run restarted, and its old text is gone
    expect(page.locator("#connection")).to_be_empty()
    gemini.release()
    wait_until_idle(page)
    assert shown_texts(page) == ["Tell me", "There was a king"]
    assert stored_texts(alice, conversation_of(page)) == ["Tell me", "There was a king"]


def restarted(visit: Visit, own_server: LiveServer, gemini: Gemini, sign_up: SignUp) -> Page:
    """Return a page whose answer began again after a crash, and waits."""
    gemini.on("Tell me", [Text("Once upon"), Hold()], [Text("There was "), Hold(), Text("a king")])
    page = visit(sign_up(own_server, "alice"), expect_faults=["ERR_"])
    page.goto("/")
    ask(page, "Tell me")
    expect(page.locator("article.live .prose")).to_have_text("Once upon")
    own_server.kill()
    own_server.start()
    expect(page.locator("article.live .prose")).to_have_text("There was ")
    return page


def test_a_restarted_answer_says_so(
    visit: Visit, own_server: LiveServer, gemini: Gemini, sign_up: SignUp
) -> None:
    page = restarted(visit, own_server, gemini, sign_up)
    note = page.get_by_text("The server restarted, and this answer began again.")
    expect(note).to_be_visible()
    page.reload()
    expect(note).to_be_visible()
    gemini.release()
    wait_until_idle(page)
    expect(note).to_be_visible()


def shows_earlier_version(page: Page) -> bool:
    """Choose the earlier version unless it is shown, and return whether it is."""
    # The page updates itself after a restart, and a click on a part that is just being replaced is lost.
    previous = page.get_by_role("group", name="Version 2 of 2").get_by_role("button", name="Previous version")
    if previous.count():
        previous.click()
        page.wait_for_timeout(1000)
    return page.get_by_role("group", name="Version 1 of 2").count() == 1


def test_the_text_before_a_restart_is_an_earlier_version(
    visit: Visit, own_server: LiveServer, gemini: Gemini, sign_up: SignUp
) -> None:
    page = restarted(visit, own_server, gemini, sign_up)
    until(lambda: shows_earlier_version(page))
    expect(page.locator("article.assistant .prose")).to_have_text("Once upon")
    expect(page.locator("article.assistant .ending")).to_have_text(
        "The server was interrupted while this answer was written."
    )
    gemini.release()
    wait_until_idle(page)
    page.get_by_role("button", name="Next version").click()
    expect(page.locator("article.assistant .prose")).to_have_text("There was a king")


def test_a_run_that_called_a_tool_is_not_repeated_after_a_crash(
    visit: Visit, own_server: LiveServer, gemini: Gemini, sign_up: SignUp
) -> None:
    gemini.on("6*7?", [Call("calculate", {"expression": "6*7"})], [Text("It is"), Hold()])
    alice = sign_up(own_server, "alice")
    page = visit(alice, expect_faults=["ERR_"])
    page.goto("/")
    ask(page, "6*7?")
    expect(page.locator("article.live .prose")).to_have_text("It is")
    own_server.kill()
    own_server.start()
    expect(page.locator(".ending")).to_have_text("The server was interrupted while this answer was written.")
    assert shown_texts(page) == ["6*7?", "It is"]
    gemini.on("6*7?", [Text("It is 42.")])
    page.get_by_role("button", name="Retry").click()
    page.get_by_role("dialog", name="Answer this again?").get_by_role("button", name="Retry").click()
    expect(page.locator("article.assistant .prose")).to_have_text("It is 42.")
