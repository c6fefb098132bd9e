"""Signs of an ended answer for a user who looks elsewhere: the tab's title, and notifications."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, wait_until_idle
from tests.browser.test_tabs import open_tab, set_hidden, start_answer
from tests.support.gemini import Gemini, Text
from tests.support.live import LiveServer, Member

# Chromium without a screen has no notifications, so record them. `answer` is the user's to its question.
RECORD = """
    window.notified = [];
    window.Notification = class {
        static permission = "%(before)s";
        static async requestPermission() { return (this.permission = "%(answer)s"); }
        constructor(title, {tag, body}) {
            window.lastNotified = this;
            window.notified.push({title, tag, body});
        }
        close() {}
    };
"""


@pytest.fixture
def nora(server: LiveServer, sign_up: SignUp, request: pytest.FixtureRequest) -> Member:
    """Return a member without conversations."""
    return sign_up(server, f"nora{abs(hash(request.node.name)) % 10**8}")


def notified(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate("window.notified")
    return found


def choose_notifications(page: Page, *, before: str = "default", answer: str = "granted") -> None:
    page.add_init_script(RECORD % {"before": before, "answer": answer})
    page.goto("/")
    page.wait_for_load_state()
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("group", name="Notify when an answer is complete").get_by_text("On", exact=True).click()


def test_the_title_has_a_sign_while_an_answer_is_written(visit: Visit, nora: Member, gemini: Gemini) -> None:
    page = visit(nora)
    start_answer(page, gemini)
    expect(page).to_have_title("… Tell me · Parley")
    gemini.release()
    expect(page).to_have_title("Tell me · Parley")


def test_the_title_of_a_hidden_tab_says_that_an_answer_ended(
    visit: Visit, nora: Member, gemini: Gemini
) -> None:
    page = visit(nora)
    start_answer(page, gemini)
    set_hidden(page, hidden=True)
    gemini.release()
    expect(page).to_have_title("(1) Tell me · Parley")


def test_the_sign_of_an_ended_answer_goes_when_the_tab_is_visible(
    visit: Visit, nora: Member, gemini: Gemini
) -> None:
    page = visit(nora)
    start_answer(page, gemini)
    set_hidden(page, hidden=True)
    gemini.release()
    expect(page).to_have_title("(1) Tell me · Parley")
    set_hidden(page, hidden=False)
    expect(page).to_have_title("Tell me · Parley")


def test_a_hidden_tab_counts_the_answers_of_other_conversations(
    visit: Visit, nora: Member, gemini: Gemini
) -> None:
    gemini.on("From a phone", [Text("Yes.")])
    page = visit(nora)
    with page.expect_websocket():
        page.goto("/")
    set_hidden(page, hidden=True)
    with nora.ask("From a phone") as stream:
        stream.until("run.completed")
    expect(page).to_have_title("(1) New conversation · Parley")


def test_an_answer_that_a_visible_tab_shows_leaves_no_sign_in_a_hidden_one(
    visit: Visit, nora: Member, gemini: Gemini
) -> None:
    page = visit(nora)
    start_answer(page, gemini)
    other = open_tab(page, "/")
    set_hidden(other, hidden=True)
    gemini.release()
    wait_until_idle(page)
    other.wait_for_timeout(3000)  # longer than a hidden tab waits for the others
    expect(other).to_have_title("New conversation · Parley")


def test_a_hidden_tab_keeps_its_socket_until_the_answer_has_ended(
    visit: Visit, nora: Member, gemini: Gemini
) -> None:
    page = visit(nora)
    page.clock.install()
    start_answer(page, gemini)
    set_hidden(page, hidden=True)
    page.clock.fast_forward(61_000)
    gemini.release()
    page.wait_for_timeout(1500)  # the end comes through the socket
    page.clock.run_for(3000)
    expect(page).to_have_title("(1) Tell me · Parley")


def test_a_notification_has_the_title_of_the_conversation_and_not_the_answer(
    visit: Visit, nora: Member, gemini: Gemini
) -> None:
    page = visit(nora)
    choose_notifications(page)
    gemini.on("Where is it?", [Text("In the secret garden.")])
    set_hidden(page, hidden=True)
    with nora.ask("Where is it?") as stream:
        stream.until("run.completed")
    expect(page).to_have_title("(1) New conversation · Parley")
    (shown,) = notified(page)
    assert (shown["title"], shown["body"]) == ("Where is it?", "The answer is complete.")


def test_the_notifications_of_two_tabs_have_one_tag(visit: Visit, nora: Member, gemini: Gemini) -> None:
    gemini.on("Where is it?", [Text("Here.")])
    page = visit(nora)
    choose_notifications(page)
    expect(page.locator(".toast")).to_contain_text("Saved.")
    other = page.context.new_page()
    other.add_init_script(RECORD % {"before": "granted", "answer": "granted"})
    with other.expect_websocket():
        other.goto("/")
    for tab in (page, other):
        set_hidden(tab, hidden=True)
    with nora.ask("Where is it?") as stream:
        stream.until("run.completed")
    for tab in (page, other):
        expect(tab).to_have_title("(1) New conversation · Parley")
    tags = [each["tag"] for tab in (page, other) for each in notified(tab)]
    assert len(tags) == 2
    assert len(set(tags)) == 1


def test_there_is_no_notification_unless_the_member_chose_it(
    visit: Visit, nora: Member, gemini: Gemini
) -> None:
    page = visit(nora)
    page.add_init_script(RECORD % {"before": "granted", "answer": "granted"})
    start_answer(page, gemini)
    set_hidden(page, hidden=True)
    gemini.release()
    expect(page).to_have_title("(1) Tell me · Parley")
    assert notified(page) == []


def test_a_refused_permission_is_explained_and_leaves_the_setting_off(visit: Visit, nora: Member) -> None:
    page = visit(nora)
    choose_notifications(page, answer="denied")
    expect(page.locator(".toast")).to_contain_text("This browser does not let the page notify you.")
    page.reload()
    expect(page.locator("body")).to_have_attribute("data-notify", "off")


def test_a_chosen_notification_leads_to_its_conversation(visit: Visit, nora: Member, gemini: Gemini) -> None:
    gemini.on("Where is it?", [Text("Here.")])
    page = visit(nora)
    page.goto("/")
    ask(page, "Where is it?")
    wait_until_idle(page)
    conversation = conversation_of(page)
    choose_notifications(page)
    set_hidden(page, hidden=True)
    with nora.ask("Where is it?", conversation=conversation) as stream:
        stream.until("run.completed")
    expect(page).to_have_title("(1) New conversation · Parley")
    page.evaluate("window.lastNotified.onclick()")
    expect(page.locator("article.assistant")).to_have_count(2)
