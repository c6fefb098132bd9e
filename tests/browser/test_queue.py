"""Messages that are sent while an answer is being written: queued, withdrawn, sent now, or in its place."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import (
    Visit,
    ask,
    conversation_of,
    shown_texts,
    stored_texts,
    wait_until_idle,
)
from tests.browser.test_accessibility import axe_violations
from tests.browser.test_waiting import RECORD
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import Member


def ask_and_hold(page: Page, gemini: Gemini, question: str) -> None:
    """Ask, and wait for the first words of an answer that goes on when it is released."""
    gemini.on(question, [Text("One "), Hold(), Text("two.")])
    page.goto("/")
    ask(page, question)
    expect(page.locator("article.live .prose")).to_contain_text("One")
    page.wait_for_url("**/chat/*/")


def test_queued_messages_are_asked_in_order(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice)
    ask_and_hold(page, gemini, "queue 1")
    page.evaluate(RECORD)
    gemini.on("queue 2", [Text("Second.")])
    gemini.on("queue 3", [Text("Third.")])
    queue = page.get_by_role("region", name="Messages that wait")
    for text in ("queue 2", "queue 3"):
        ask(page, text)
        expect(queue.locator(".queued-text").last).to_have_text(text)
    queued_second = "Queued as number 2. It is sent when the answer has ended."
    page.wait_for_function("text => said.includes(text)", arg=queued_second)
    expect(page.get_by_label("Message", exact=True)).to_have_value("")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    expect(queue).to_contain_text("Sent when the answer has ended")
    assert axe_violations(page) == []
    gemini.release()
    expect(page.locator("article.assistant .prose").last).to_have_text("Third.")
    wait_until_idle(page)
    expect(queue).to_have_count(0)
    assert shown_texts(page) == ["queue 1", "One two.", "queue 2", "Second.", "queue 3", "Third."]
    assert shown_texts(page) == stored_texts(alice, conversation_of(page))


def test_another_tab_and_a_reload_show_the_same_queue(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice)
    ask_and_hold(page, gemini, "tabs 1")
    other = page.context.new_page()
    other.goto(page.url)
    ask(page, "tabs 2")
    for each in (page, other):
        expect(each.locator(".queued-text")).to_have_text("tabs 2")
    page.reload()
    expect(page.locator(".queued-text")).to_have_text("tabs 2")
    other.get_by_role("button", name="Withdraw").click()
    for each in (page, other):
        expect(each.locator(".queued")).to_have_count(0)
    gemini.release()
    wait_until_idle(page)
    assert stored_texts(alice, conversation_of(page)) == ["tabs 1", "One two."]


def test_a_withdrawn_text_is_in_the_empty_message_field(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice)
    ask_and_hold(page, gemini, "withdraw 1")
    page.evaluate(RECORD)
    for text in ("withdraw 2", "withdraw 3"):
        ask(page, text)
        expect(page.locator(".queued-text").last).to_have_text(text)
    page.locator(".queued").last.get_by_role("button", name="Withdraw").press("Enter")
    expect(page.locator(".queued")).to_have_count(1)
    field = page.get_by_label("Message", exact=True)
    expect(field).to_have_value("withdraw 3")
    expect(field).to_be_focused()
    assert "Withdrawn. The text is in the message field." in page.evaluate("said")
    page.locator(".queued").get_by_role("button", name="Withdraw").press("Enter")
    expect(page.locator(".queued")).to_have_count(0)
    expect(field).to_have_value("withdraw 3")
    gemini.release()
    wait_until_idle(page)


@pytest.mark.parametrize("way", ["key", "button"])
def test_stop_and_send_asks_in_place_of_the_answer(
    visit: Visit, alice: Member, gemini: Gemini, way: str
) -> None:
    page = visit(alice)
    ask_and_hold(page, gemini, f"stop {way} 1")
    gemini.on(f"stop {way} 2", [Text("Instead.")])
    page.get_by_label("Message", exact=True).fill(f"stop {way} 2")
    if way == "key":
        page.keyboard.press("Control+Enter")
    else:
        page.get_by_role("button", name="Stop and send").click()
    expect(page.locator("article.assistant .prose").last).to_have_text("Instead.")
    wait_until_idle(page)
    assert stored_texts(alice, conversation_of(page)) == [
        f"stop {way} 1",
        "One ",
        f"stop {way} 2",
        "Instead.",
    ]


def test_a_queue_waits_after_a_stop_until_it_is_sent_now(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice)
    ask_and_hold(page, gemini, "now 1")
    gemini.on("now 2", [Text("Second.")])
    ask(page, "now 2")
    expect(page.locator(".queued")).to_have_count(1)
    page.keyboard.press("Escape")
    wait_until_idle(page)
    queue = page.get_by_role("region", name="Messages that wait")
    expect(queue).to_contain_text("Waits because the answer was stopped")
    queue.get_by_role("button", name="Send now").click()
    expect(page.locator("article.assistant .prose").last).to_have_text("Second.")
    wait_until_idle(page)
    expect(queue).to_have_count(0)


def test_a_sixth_message_stays_in_the_message_field(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice, expect_faults=["409"])
    ask_and_hold(page, gemini, "six 1")
    for n in range(2, 7):
        ask(page, f"six {n}")
        expect(page.locator(".queued")).to_have_count(n - 1)
    ask(page, "six 7")
    expect(page.get_by_role("alert").filter(has_text="At most 5 messages can wait")).to_be_visible()
    expect(page.get_by_label("Message", exact=True)).to_have_value("six 7")
    expect(page.locator(".queued")).to_have_count(5)
    for n in range(4, -1, -1):
        page.locator(".queued").last.get_by_role("button", name="Withdraw").click()
        expect(page.locator(".queued")).to_have_count(n)
    gemini.release()
    wait_until_idle(page)


@pytest.mark.parametrize("arrives", [True, False])
def test_a_tab_that_closes_right_after_enter_loses_nothing_and_asks_once(
    visit: Visit, alice: Member, gemini: Gemini, arrives: bool
) -> None:
    page = visit(alice, expect_faults=["ERR_"])
    first, second = f"closed {arrives} 1", f"closed {arrives} 2"
    ask_and_hold(page, gemini, first)
    gemini.on(second, [Text("Second.")])
    address, sent, lost = page.url, [], []

    def lose_the_response(route: Route) -> None:
        sent.append(route.request.headers["idempotency-key"])
        if arrives:
            route.fetch()
        else:
            route.abort()  # else the browser sends it when the page closes
        lost.append(route)

    page.route("**/chat/stream?view=html", lose_the_response)
    ask(page, second)
    while not lost:
        page.wait_for_timeout(20)
    other = page.context.new_page()
    assert second in page.evaluate("JSON.stringify(localStorage)")
    page.close()
    other.goto(address)
    field = other.get_by_label("Message", exact=True)
    if arrives:
        expect(other.locator(".queued-text")).to_have_text(second)
        expect(field).to_have_value("")
    else:
        expect(field).to_have_value(second)
        other.on("request", lambda each: sent.append(each.headers.get("idempotency-key", "")))
        field.press("Enter")
        expect(other.locator(".queued-text")).to_have_text(second)
        assert sent[0] in sent[1:]
    gemini.release()
    expect(other.locator("article.assistant .prose").last).to_have_text("Second.")
    wait_until_idle(other)
    assert stored_texts(alice, conversation_of(other)) == [first, "One two.", second, "Second."]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_queue_fits_a_phone(
    visit: Visit, alice: Member, gemini: Gemini, scheme: str, tmp_path: Path
) -> None:
    page = visit(alice, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    ask_and_hold(page, gemini, f"phone {scheme}")
    ask(page, "w" * 400 + "\nمرحبا")
    expect(page.locator(".queued")).to_have_count(1)
    page.get_by_label("Message", exact=True).fill("More")
    expect(page.get_by_role("button", name="Stop and send")).to_be_visible()
    assert page.locator("main").evaluate("(main) => main.scrollWidth - main.clientWidth") == 0
    assert axe_violations(page) == []
    page.screenshot(path=str(tmp_path / "queue.png"))
    page.get_by_role("button", name="Withdraw").click()
    expect(page.locator(".queued")).to_have_count(0)  # else the question may be asked first
    gemini.release()
    wait_until_idle(page)
