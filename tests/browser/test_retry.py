"""Retry and Regenerate: a confirmation names the tools that may run again."""

from collections.abc import Sequence
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, conversation_of, shown_texts, stored_texts, wait_until_idle
from tests.browser.test_accessibility import DESKTOP, PHONE, axe_violations
from tests.support.gemini import Call, Gemini, Status, Step, Text
from tests.support.live import Member

SUM = Call("calculate", {"expression": "6*7"})
DAYS = Call("days_between", {"first": "2026-01-01", "second": "2026-01-02"})


def open_answered(
    visit: Visit, alice: Member, gemini: Gemini, *answers: Sequence[Step], **options: Any
) -> Page:
    """Open a page and ask a question with these scripted answers; return the page after the first one."""
    gemini.on("6*7?", *answers)
    page = visit(alice, **options)
    page.goto("/")
    page.get_by_label("Message", exact=True).fill("6*7?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("button.ask-again")).to_be_attached()
    return page


def confirmation(page: Page) -> Any:
    return page.get_by_role("dialog", name="Answer this again?")


def test_regenerate_names_the_tools_and_asks_for_confirmation(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = open_answered(visit, alice, gemini, [SUM, DAYS], [SUM], [Text("It is 42.")], [Text("Forty-two.")])
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    page.get_by_role("button", name="Regenerate").click()
    expect(confirmation(page)).to_contain_text("This may do it again: calculate, days_between.")
    assert asked == []
    confirmation(page).get_by_role("button", name="Regenerate").click()
    expect(confirmation(page)).to_be_hidden()
    expect(page.locator("article.assistant .prose")).to_have_text("Forty-two.")
    wait_until_idle(page)
    assert stored_texts(alice, conversation_of(page)) == ["6*7?", "Forty-two."]


@pytest.mark.parametrize("by", ["the button", "Escape"])
def test_a_declined_confirmation_changes_nothing(
    visit: Visit, alice: Member, gemini: Gemini, by: str
) -> None:
    page = open_answered(visit, alice, gemini, [SUM], [Text("It is 42.")], [Text("Forty-two.")])
    page.get_by_role("button", name="Regenerate").click()
    if by == "Escape":
        page.keyboard.press("Escape")
    else:
        confirmation(page).get_by_role("button", name="Cancel").click()
    expect(confirmation(page)).to_be_hidden()
    expect(page.get_by_role("button", name="Regenerate")).to_be_focused()
    assert shown_texts(page) == ["6*7?", "It is 42."]


def test_retry_names_the_tools_and_asks_for_confirmation(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = open_answered(visit, alice, gemini, [SUM], [Status(400, "INVALID_ARGUMENT")], [Text("It is 42.")])
    expect(page.locator(".ending")).to_have_text("The model failed to answer.")
    page.get_by_role("button", name="Retry").click()
    expect(confirmation(page)).to_contain_text("This may do it again: calculate.")
    confirmation(page).get_by_role("button", name="Retry").click()
    expect(page.locator("article.assistant .prose")).to_have_text("It is 42.")


def test_regenerate_of_an_answer_without_tools_needs_no_confirmation(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = open_answered(visit, alice, gemini, [Text("It is 42.")], [Text("Forty-two.")])
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.assistant .prose")).to_have_text("Forty-two.")


def test_the_confirmation_also_names_the_tools_of_earlier_answers(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = open_answered(
        visit, alice, gemini, [SUM], [Text("It is 42.")], [Text("Forty-two.")], [Text("XLII")]
    )
    page.get_by_role("button", name="Regenerate").click()
    confirmation(page).get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.assistant .prose")).to_have_text("Forty-two.")
    wait_until_idle(page)
    page.get_by_role("button", name="Regenerate").click()
    expect(confirmation(page)).to_contain_text("This may do it again: calculate.")


def test_the_confirmation_can_be_answered_by_keyboard(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = open_answered(visit, alice, gemini, [SUM], [Text("It is 42.")], [Text("Forty-two.")])
    page.get_by_role("button", name="Regenerate").focus()
    page.keyboard.press("Enter")
    expect(confirmation(page).get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .prose")).to_have_text("Forty-two.")


def test_the_confirmation_works_without_scripts(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = open_answered(
        visit, alice, gemini, [SUM], [Text("It is 42.")], [Text("Forty-two.")], java_script_enabled=False
    )
    page.get_by_role("button", name="Regenerate").click()
    expect(confirmation(page)).to_contain_text("This may do it again: calculate.")
    confirmation(page).get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.assistant .prose")).to_have_text("Forty-two.")


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_in_the_confirmation(
    visit: Visit, alice: Member, gemini: Gemini, device: dict[str, Any]
) -> None:
    page = open_answered(visit, alice, gemini, [SUM], [Text("It is 42.")], **device)
    page.get_by_role("button", name="Regenerate").click()
    expect(confirmation(page)).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert (scheme, axe_violations(page)) == (scheme, [])
