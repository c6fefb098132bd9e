"""Spoken conversations, from the microphone to the loudspeaker: the real server with the demo's voice."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocket, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, stored_texts, wait_until_idle
from tests.browser.network import Network
from tests.browser.test_calls import LISTEN, browser, press_speak, sign  # noqa: F401  (browser is a fixture)
from tests.support.live import LiveServer, Member

FIRST = "Hello, who are you?"  # what a demo server takes the first sentence for
SECOND = "What time is it in Lagos?"
SPOKEN_MS = 40_000  # a question takes three seconds, also where a test shall fail soon


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """Start a server for each test: its demo takes what it hears for the next sentence of a list."""
    server = LiveServer(tmp_path, DEMO_DELAY_SECONDS="0.01", LIMITS="off")
    yield server.prepare().start()
    server.kill()


@pytest.fixture
def alice(server: LiveServer, sign_up: SignUp) -> Member:
    return sign_up(server, "alice")


def opened(visit: Visit, member: Member, **options: Any) -> Page:
    """Return a page whose sound can be measured."""
    page = visit(member, **options)
    page.add_init_script(LISTEN)
    page.goto("/")
    page.wait_for_load_state()
    return page


def asked(page: Page) -> None:
    """Call, and let the microphone ask once."""
    press_speak(page)
    expect(page.locator(".bubble").first).to_have_text(FIRST, timeout=SPOKEN_MS)
    expect(sign(page)).to_have_text("Speaking", timeout=SPOKEN_MS)
    page.get_by_role("button", name="Mute").click()


def hang_up(page: Page) -> None:
    page.get_by_role("button", name="Hang up").click()
    expect(page.locator(".call-bar")).to_have_count(0)
    wait_until_idle(page)


def test_a_question_asked_aloud_is_answered_aloud_and_the_conversation_goes_on_in_writing(
    alice: Member, visit: Visit
) -> None:
    page = opened(visit, alice)
    asked(page)
    page.wait_for_function("peak() > 0.05")
    expect(page.locator("article.live .prose").first).to_contain_text(FIRST)
    page.wait_for_timeout(1500)  # some of it is heard
    hang_up(page)
    expect(page.locator("article.assistant")).to_have_count(1)
    expect(page.locator("#pane-title h1")).to_have_text(FIRST)
    ask(page, "What is 3 * 4?")
    expect(page.locator("article.assistant")).to_have_count(2)
    wait_until_idle(page)
    texts = stored_texts(alice, conversation_of(page))
    assert [texts[0], texts[2]] == [FIRST, "What is 3 * 4?"]
    assert "12" in texts[3]


def test_another_tab_reads_the_question_and_the_captions_as_they_come(alice: Member, visit: Visit) -> None:
    page = opened(visit, alice)
    ask(page, "Good morning")
    expect(page.locator("article.assistant")).to_have_count(1)
    other = page.context.new_page()
    other.add_init_script(
        """addEventListener("DOMContentLoaded", () => {
            window.seen = [];
            const note = () => {
                const [question, reply] = [".user .bubble", ".live .prose"].map((each) =>
                    [...document.querySelectorAll(`#messages ${each}`)].at(-1)?.textContent.trim() ?? "");
                const now = JSON.stringify([question, reply]);
                if (now !== window.seen.at(-1)) window.seen.push(now);
            };
            const changes = {childList: true, subtree: true, characterData: true};
            new MutationObserver(note).observe(document.body, changes);
        })"""
    )
    other.goto(page.url)
    other.wait_for_load_state()
    press_speak(page)
    expect(other.locator(".bubble").last).to_have_text(FIRST, timeout=SPOKEN_MS)
    expect(other.locator("article.live .prose").first).to_contain_text("You said", timeout=SPOKEN_MS)
    seen = [json.loads(each) for each in other.evaluate("seen")]
    questions = [question for question, _reply in seen if question]
    assert list(dict.fromkeys(questions)) == ["Good morning", "Hello,", FIRST]  # also while it was spoken
    page.wait_for_timeout(1500)  # some of it is heard
    hang_up(page)
    wait_until_idle(other)
    expect(other.locator("article.assistant")).to_have_count(2)
    assert (
        other.locator(".bubble, .prose").all_inner_texts()
        == page.locator(".bubble, .prose").all_inner_texts()
    )


def test_the_stop_button_leaves_what_was_heard(alice: Member, visit: Visit) -> None:
    page = opened(visit, alice)
    asked(page)
    page.wait_for_timeout(1500)
    shown = page.locator("article.live .prose").all_inner_texts()
    page.get_by_role("button", name="Stop the answer").click()
    expect(page.locator("article.assistant .ending")).to_have_text(
        "This answer was interrupted while it was spoken."
    )
    expect(page.locator(".broken")).to_have_count(0)
    expect(sign(page)).to_have_text("Muted")
    page.wait_for_function("peak() === 0")
    _question, heard = stored_texts(alice, conversation_of(page))
    assert heard.startswith("You said: Hello")
    assert len(heard) < len(" ".join(shown))
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)  # it is no failure


def test_speaking_interrupts_the_answer(alice: Member, visit: Visit) -> None:
    page = opened(visit, alice)
    press_speak(page)
    expect(page.locator("article.user")).to_have_count(2, timeout=SPOKEN_MS)  # the microphone plays it again
    expect(page.locator("article.assistant .ending").first).to_contain_text("interrupted")
    expect(page.locator(".bubble").last).to_have_text(SECOND)
    expect(page.locator("article.live .prose, article.assistant .prose").last).to_contain_text(
        "In Lagos it is"
    )


def test_words_typed_in_a_call_are_answered_aloud(alice: Member, visit: Visit) -> None:
    page = visit(alice)
    page.add_init_script(LISTEN)
    page.add_init_script("localStorage.setItem('parley-call-mode', 'push')")  # nothing is heard
    page.goto("/")
    page.wait_for_load_state()
    press_speak(page)
    expect(sign(page)).to_have_text("Hold Space to talk")
    ask(page, "What is 5 * 5?")
    expect(page.locator(".bubble").last).to_have_text("What is 5 * 5?")
    expect(page.locator(".prose").last).to_contain_text("25")
    page.wait_for_function("peak() > 0.05")
    page.wait_for_timeout(500)
    hang_up(page)
    assert stored_texts(alice, conversation_of(page))[0] == "What is 5 * 5?"


def test_a_call_goes_on_after_a_lost_connection(alice: Member, visit: Visit, server: LiveServer) -> None:
    network = Network(server.url)
    page = visit(alice, url=network.url, expect_faults=["ERR_", "WebSocket"])
    sockets: list[WebSocket] = []
    page.on("websocket", lambda socket: sockets.append(socket))  # noqa: PLW0108
    page.goto("/")
    page.wait_for_load_state()
    asked(page)
    network.cut()
    expect(sign(page)).to_have_text("Reconnecting…")
    network.restore()
    expect(sign(page)).not_to_have_text("Reconnecting…")
    calls = [socket.url for socket in sockets if "/live/" in socket.url]
    assert re.search(r"\?call=[0-9a-f-]{36}$", calls[-1])
    ask(page, "What is 6 * 7?")
    expect(page.locator(".prose").last).to_contain_text("42")
    expect(page.locator("article.user")).to_have_count(2)
    hang_up(page)
    network.close()


def test_a_call_that_is_open_elsewhere_is_refused(alice: Member, visit: Visit) -> None:
    page = opened(visit, alice)
    press_speak(page)
    expect(sign(page)).to_have_text("Listening")
    other = visit(alice)
    other.goto(page.url)
    other.wait_for_load_state()
    press_speak(other)
    expect(other.locator("#notice")).to_have_text("You are in a call already.")
    expect(sign(page)).to_be_visible()


def test_leaving_the_page_ends_the_call(alice: Member, visit: Visit) -> None:
    page = opened(visit, alice)
    press_speak(page)
    expect(sign(page)).to_have_text("Listening")
    page.reload()
    page.wait_for_load_state()
    ask(page, "What is 2 * 3?")  # refused while a call is open
    expect(page.locator("article.assistant")).to_contain_text("6")
