"""Retry and Regenerate of an answer that used tools: the page names them, and asks once."""

from collections.abc import Sequence
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, conversation_of, said, settled, stored
from tests.browser.test_accessibility import DESK, PHONE, faults
from tests.gemini import Call, Gemini, Status, Step, Text
from tests.live import Member

SUM = Call("calculate", {"expression": "6*7"})
DAYS = Call("days_between", {"first": "2026-01-01", "second": "2026-01-02"})


def answered(visit: Visit, alice: Member, gemini: Gemini, *answers: Sequence[Step], **options: Any) -> Page:
    """The page of a question to which the model gives these answers, after the first of them has ended."""
    gemini.on("6*7?", *answers)
    page = visit(alice, **options)
    page.goto("/")
    page.get_by_label("Message", exact=True).fill("6*7?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("form.again")).to_be_attached()
    return page


def question(page: Page) -> Any:
    return page.get_by_role("dialog", name="Answer this again?")


def test_regenerate_names_the_tools_and_asks_before_it_does(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = answered(visit, alice, gemini, [SUM, DAYS], [SUM], [Text("It is 42.")], [Text("Forty-two.")])
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    page.get_by_role("button", name="Regenerate").click()
    expect(question(page)).to_contain_text("This may do it again: calculate, days_between.")
    assert asked == []
    question(page).get_by_role("button", name="Regenerate").click()
    expect(question(page)).to_be_hidden()
    expect(page.locator("article.assistant .prose")).to_have_text("Forty-two.")
    settled(page)
    assert stored(alice, conversation_of(page)) == ["6*7?", "Forty-two."]


@pytest.mark.parametrize("by", ["the button", "Escape"])
def test_nothing_is_asked_again_where_the_question_is_answered_no(
    visit: Visit, alice: Member, gemini: Gemini, by: str
) -> None:
    page = answered(visit, alice, gemini, [SUM], [Text("It is 42.")], [Text("Forty-two.")])
    page.get_by_role("button", name="Regenerate").click()
    if by == "Escape":
        page.keyboard.press("Escape")
    else:
        question(page).get_by_role("button", name="Cancel").click()
    expect(question(page)).to_be_hidden()
    expect(page.get_by_role("button", name="Regenerate")).to_be_focused()
    assert said(page) == ["6*7?", "It is 42."]


def test_retry_names_the_tools_and_asks_before_it_does(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = answered(visit, alice, gemini, [SUM], [Status(400, "INVALID_ARGUMENT")], [Text("It is 42.")])
    expect(page.locator(".ending")).to_have_text("The model failed to answer.")
    page.get_by_role("button", name="Retry").click()
    expect(question(page)).to_contain_text("This may do it again: calculate.")
    question(page).get_by_role("button", name="Retry").click()
    expect(page.locator("article.assistant .prose")).to_have_text("It is 42.")


def test_regenerate_of_an_answer_without_tools_asks_nothing(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = answered(visit, alice, gemini, [Text("It is 42.")], [Text("Forty-two.")])
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.assistant .prose")).to_have_text("Forty-two.")


def test_the_question_comes_again_where_only_an_earlier_answer_used_tools(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = answered(visit, alice, gemini, [SUM], [Text("It is 42.")], [Text("Forty-two.")], [Text("XLII")])
    page.get_by_role("button", name="Regenerate").click()
    question(page).get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.assistant .prose")).to_have_text("Forty-two.")
    settled(page)
    page.get_by_role("button", name="Regenerate").click()
    expect(question(page)).to_contain_text("This may do it again: calculate.")


def test_the_question_is_answered_by_the_keyboard_alone(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = answered(visit, alice, gemini, [SUM], [Text("It is 42.")], [Text("Forty-two.")])
    page.get_by_role("button", name="Regenerate").focus()
    page.keyboard.press("Enter")
    expect(question(page).get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .prose")).to_have_text("Forty-two.")


def test_the_question_is_asked_without_scripts(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = answered(
        visit, alice, gemini, [SUM], [Text("It is 42.")], [Text("Forty-two.")], java_script_enabled=False
    )
    page.get_by_role("button", name="Regenerate").click()
    expect(question(page)).to_contain_text("This may do it again: calculate.")
    question(page).get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.assistant .prose")).to_have_text("Forty-two.")


@pytest.mark.parametrize("device", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing_in_the_question(
    visit: Visit, alice: Member, gemini: Gemini, device: dict[str, Any]
) -> None:
    page = answered(visit, alice, gemini, [SUM], [Text("It is 42.")], **device)
    page.get_by_role("button", name="Regenerate").click()
    expect(question(page)).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert (scheme, faults(page)) == (scheme, [])
