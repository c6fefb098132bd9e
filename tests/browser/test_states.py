"""States of the page: waiting, failed, refused, offline, disconnected; toasts and deletion."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Visit, ask, shown_texts, wait_until_idle
from tests.browser.network import Network
from tests.support.gemini import Gemini, Hold, Status, Text
from tests.support.live import LiveServer, Member


def test_a_question_and_a_progress_sign_are_shown_before_the_server_responds(
    visit: Visit, alice: Member
) -> None:
    page = visit(alice)
    page.goto("/")
    held: list[Route] = []
    page.route("**/chat/stream?view=html", lambda route: held.append(route))  # noqa: PLW0108
    ask(page, "Hello")
    expect(page.locator(".bubble")).to_have_text("Hello")
    expect(page.locator(".reply-waiting")).to_have_text("Thinking…")
    expect(page.locator(".bubble")).to_have_css("opacity", "0.65")  # not accepted yet
    held[0].continue_()
    wait_until_idle(page)
    expect(page.locator(".bubble")).to_have_css("opacity", "1")
    expect(page.locator(".reply-waiting")).to_have_count(0)


def test_a_long_wait_shows_its_seconds(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("hard", [Hold(), Text("done")])
    page = visit(alice)
    page.clock.install()
    page.goto("/")
    ask(page, "hard")
    expect(page.locator(".reply-waiting")).to_have_text("Thinking…")
    page.clock.run_for(5000)
    expect(page.locator(".reply-waiting")).to_have_text(re.compile(r"^Thinking… [45] s$"))
    gemini.release()
    wait_until_idle(page)
    assert shown_texts(page) == ["hard", "done"]


def test_a_suggestion_fills_the_composer_and_is_not_sent(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    page.goto("/")
    page.wait_for_load_state()
    expect(page.locator(".suggestion")).to_have_count(4)
    page.get_by_role("button", name="Plan three days in Lisbon").click()
    message = page.get_by_label("Message", exact=True)
    expect(message).to_have_value("Plan three days in Lisbon, at an easy pace")
    expect(message).to_be_focused()
    assert asked == []
    page.keyboard.press("Enter")
    wait_until_idle(page)
    expect(page.locator(".suggestion")).to_have_count(0)


def test_a_failed_answer_shows_its_reason_and_a_retry_button(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("go", *[[Status(400, "INVALID_ARGUMENT")]], [Text("Once "), Hold(), Text("more.")])
    page = visit(alice)
    page.goto("/")
    page.evaluate(
        """() => {
            window.alarms = [];
            new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach(
                (node) => window.alarms.push(node.textContent)
            ))).observe(document.querySelector("#alarm"), {childList: true});
        }"""
    )
    ask(page, "go")
    card = page.locator(".run-outcome.broken")
    expect(card.locator(".ending")).to_have_text("The model failed to answer.")
    expect(card.locator("code").first).to_be_hidden()
    card.get_by_text("Details").click()
    expect(card.locator("code").first).to_have_text("model_error")
    expect(page.locator("#announcer")).to_have_text("The answer has ended.")
    assert page.evaluate("window.alarms") == ["The model failed to answer."]  # once
    card.get_by_role("button", name="Retry").click()
    expect(page.locator("article.live .prose")).to_have_text("Once")
    expect(card).to_be_hidden()
    gemini.release()
    wait_until_idle(page)
    assert shown_texts(page) == ["go", "Once more."]


def test_an_offline_page_says_so_and_keeps_the_draft(visit: Visit, alice: Member) -> None:
    # A late change by an earlier test makes the page fetch, which fails while it is offline.
    page = visit(alice, expect_faults=["ERR_INTERNET_DISCONNECTED"])
    page.goto("/")
    page.wait_for_load_state()
    page.context.set_offline(True)
    expect(page.get_by_role("alert").filter(has_text="You are offline.")).to_be_visible()
    ask(page, "Hello")
    expect(page.locator("article")).to_have_count(0)
    expect(page.get_by_label("Message", exact=True)).to_have_value("Hello")
    page.context.set_offline(False)
    expect(page.locator("#notice")).to_be_empty()
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .prose")).to_have_text("You said: Hello")


def test_an_exceeded_limit_shows_how_long_to_wait(visit: Visit, alice: Member) -> None:
    page = visit(alice, expect_faults=["429"])
    page.clock.install()
    page.goto("/")
    body = '{"error": {"code": "too_many", "detail": "At most 5 answers can be written at once."}}'
    answer = {
        "status": 429,
        "content_type": "application/json",
        "body": body,
        "headers": {"Retry-After": "3"},
    }
    page.route("**/chat/stream?view=html", lambda route: route.fulfill(**answer), times=1)
    ask(page, "Hello")
    notice, send = page.locator("#notice"), page.get_by_role("button", name="Send")
    expect(notice).to_have_text("At most 5 answers can be written at once. Try again in 3 s.")
    expect(send).to_be_disabled()
    page.keyboard.press("Enter")
    page.clock.run_for(1000)
    expect(notice).to_contain_text("Try again in 2 s.")
    page.clock.run_for(2000)
    expect(notice).to_be_empty()
    expect(send).to_be_enabled()
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant")).to_have_count(1)


def test_a_short_loss_of_the_connection_is_not_shown(
    visit: Visit, server: LiveServer, alice: Member, gemini: Gemini
) -> None:
    gemini.on("Tell me", [Text("Once"), Hold(), Text(" upon")])
    network = Network(server.url)
    page = visit(alice, url=network.url, expect_faults=["ERR_"])
    page.goto("/")
    page.evaluate(
        """() => {
            window.shown = [];
            new MutationObserver(() => window.shown.push(document.querySelector("#connection").textContent))
                .observe(document.querySelector("#connection"), {childList: true});
        }"""
    )
    ask(page, "Tell me")
    expect(page.locator("article.live .prose")).to_have_text("Once")
    with page.expect_request("**/events?*"):
        network.cut()
        page.wait_for_timeout(100)
        network.restore()
    gemini.release()
    wait_until_idle(page)
    assert "Reconnecting…" not in page.evaluate("window.shown")
    network.close()


@pytest.mark.parametrize("path", ["/nowhere/", "/chat/x/"])
def test_an_unknown_address_has_a_page_with_a_way_back(visit: Visit, alice: Member, path: str) -> None:
    page = visit(alice, expect_faults=["404"])
    answer = page.goto(path)
    assert answer
    assert answer.status == 404
    expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
    page.get_by_role("link", name="To your conversations").click()
    expect(page.get_by_label("Message", exact=True)).to_be_visible()


def test_at_most_three_toasts_are_shown_and_errors_stay(visit: Visit, alice: Member) -> None:
    page = visit(alice, expect_faults=["500"])
    page.clock.install()
    page.goto("/")
    page.wait_for_load_state()
    page.route("**/preferences/", lambda route: route.fulfill(status=500), times=1)
    page.get_by_role("button", name="Settings").click()
    for choice in ("Dark", "Light", "System", "Dark"):
        with page.expect_response("**/preferences/"):
            page.get_by_text(choice, exact=True).click()
    toasts = page.locator(".toast")
    expect(toasts).to_have_count(3)
    expect(toasts.first).to_contain_text("This could not be saved.")
    page.clock.run_for(8000)
    expect(toasts).to_have_count(1)
    toasts.get_by_role("button", name="Close").click(force=True)
    expect(toasts).to_have_count(0)
    expect(page.locator("#toasts")).to_have_attribute("role", "status")


def test_deletion_asks_first_and_focuses_cancel(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.goto("/")
    ask(page, "to be deleted")
    wait_until_idle(page)
    path = page.url
    menu = page.locator(".pane-head .entry-button")
    delete = page.get_by_role("menuitem", name="Delete")
    dialog = page.get_by_role("dialog", name="Delete this conversation?")
    menu.click()
    delete.click()
    expect(dialog).to_contain_text("to be deleted")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(menu).to_be_focused()
    menu.click()
    delete.click()
    page.keyboard.press("Enter")  # Cancel has the focus
    expect(dialog).to_be_hidden()
    menu.click()
    delete.click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What would you like to know?")
    assert alice.http.get(path).status_code == 404
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("to be deleted")
    assert page.url == path


def test_a_conversation_can_be_deleted_without_scripts(visit: Visit, alice: Member) -> None:
    with alice.ask("to be deleted") as stream:
        conversation = stream.until("run.started")[0].json()["conversation"]
        stream.all_events()
    page: Page = visit(alice, java_script_enabled=False)
    page.goto(f"/chat/{conversation}/")
    page.locator(".pane-head .entry-button").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What would you like to know?")
    assert alice.http.get(f"/chat/{conversation}/").status_code == 404
