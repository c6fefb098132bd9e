"""Notices: they disappear with their cause."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, wait_until_idle
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer, Member


def open_page(page: Page, path: str = "/") -> None:
    page.goto(path)
    page.wait_for_load_state()


def test_a_notice_about_the_text_disappears_when_the_text_changes(visit: Visit, alice: Member) -> None:
    page = visit(alice, expect_faults=["422"])
    open_page(page)
    ask(page, "x" * 140_000)
    expect(page.locator("#notice")).to_have_text("The message is longer than 128 KiB.")
    page.get_by_label("Message", exact=True).fill("")
    expect(page.locator("#notice")).to_be_empty()


def test_a_conflict_is_forgotten_when_the_other_answer_has_ended(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("two", [Text("second"), Hold(), Text(" answer")])
    here = visit(alice, expect_faults=["409"])
    here.route_web_socket("**/ws/*", lambda _socket: None)  # it receives nothing
    open_page(here)
    ask(here, "one")
    wait_until_idle(here)
    there = visit(alice)
    open_page(there, here.url)
    ask(there, "two")
    expect(there.locator("article.live .prose")).to_have_text("second")
    ask(here, "three")
    expect(here.locator("#notice")).to_contain_text("already answering")
    gemini.release()
    wait_until_idle(here)
    expect(here.locator("#notice")).to_be_empty()


def test_a_sent_question_needs_no_network_if_the_server_answers(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.add_init_script("Object.defineProperty(navigator, 'onLine', {get: () => false})")
    open_page(page)
    ask(page, "Hello")
    expect(page.locator("article.assistant .prose")).to_have_text("You said: Hello")
    expect(page.locator("#notice")).to_be_empty()


def test_no_sign_of_an_answer_is_left_when_the_user_is_signed_out(
    visit: Visit, server: LiveServer, sign_up: SignUp, gemini: Gemini
) -> None:
    gemini.on("Tell me", [Text("Once"), Hold(), Text(" upon")])
    page = visit(sign_up(server, "erin"), expect_faults=["401"])
    open_page(page)
    ask(page, "Tell me")
    expect(page.locator("article.live .prose")).to_have_text("Once")
    expect(page.locator(".answering-mark")).to_have_count(1)
    assert conversation_of(page)
    page.context.clear_cookies(name="sessionid")
    gemini.release()
    expect(page.locator("#notice")).to_contain_text("You are signed out.")
    expect(page.locator("[aria-busy]")).to_have_count(0)
    expect(page.locator(".answering-mark")).to_have_count(0)
