"""Thumbs at the answers, and the reasons for a bad one."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, conversation_of
from tests.browser.test_accessibility import DESKTOP, PHONE, axe_violations
from tests.browser.test_versions import open_asked
from tests.support.live import Member


def stored(member: Member, page: Page) -> Any:
    answer = member.http.get(f"/api/v1/conversations/{conversation_of(page)}").json()
    return answer["messages"]["items"][-1]["feedback"]


def thumb(page: Page, name: str) -> Any:
    return page.locator("article.assistant").get_by_role("button", name=name)


def test_a_thumb_is_pressed_and_released(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one")
    for is_pressed in (True, False):
        with page.expect_response("**/feedback"):
            thumb(page, "Good answer").click()
        expect(thumb(page, "Good answer")).to_have_attribute("aria-pressed", str(is_pressed).lower())
        assert stored(alice, page) == ({"value": 1, "reasons": [], "text": ""} if is_pressed else None)


def test_one_thumb_releases_the_other(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one")
    page.route("**/feedback", lambda _route: None)  # no answer: the page does not wait for it
    thumb(page, "Bad answer").click()
    thumb(page, "Good answer").click()
    expect(thumb(page, "Bad answer")).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".feedback-form")).to_have_count(0)


def test_feedback_survives_a_reload(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one")
    with page.expect_response("**/feedback"):
        thumb(page, "Good answer").click()
    page.reload()
    expect(thumb(page, "Good answer")).to_have_attribute("aria-pressed", "true")


def test_a_bad_answer_can_have_reasons(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one")
    thumb(page, "Bad answer").click()
    expect(page.get_by_label("It is wrong")).to_be_focused()
    page.get_by_label("It is wrong").check()
    page.get_by_label("In your own words").fill("It is 43.")
    page.locator(".feedback-form").get_by_role("button", name="Send").click()
    expect(page.locator(".toast")).to_contain_text("Thank you for your feedback.")
    expect(thumb(page, "Bad answer")).to_be_focused()
    assert stored(alice, page) == {"value": -1, "reasons": ["wrong"], "text": "It is 43."}


def test_escape_closes_the_reasons_and_keeps_the_thumb(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one")
    with page.expect_response("**/feedback"):
        thumb(page, "Bad answer").click()
    page.keyboard.press("Escape")
    expect(page.locator(".feedback-form")).to_have_count(0)
    expect(thumb(page, "Bad answer")).to_be_focused()
    assert stored(alice, page) == {"value": -1, "reasons": [], "text": ""}


def test_a_thumb_that_could_not_be_stored_is_released(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one", expect_faults=["ERR_FAILED"])
    page.route("**/feedback", lambda route: route.abort())
    thumb(page, "Good answer").click()
    expect(page.locator(".toast")).to_contain_text("This could not be saved.")
    expect(thumb(page, "Good answer")).to_have_attribute("aria-pressed", "false")


def test_feedback_appears_in_another_tab(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one")
    other = page.context.new_page()
    with other.expect_websocket():
        other.goto(page.url)
    thumb(page, "Good answer").click()
    expect(thumb(other, "Good answer")).to_have_attribute("aria-pressed", "true", timeout=2000)


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_in_the_reasons(visit: Visit, alice: Member, device: dict[str, Any]) -> None:
    page = open_asked(visit, alice, "one", **device)
    thumb(page, "Bad answer").click()
    expect(page.locator(".feedback-form")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert (scheme, axe_violations(page)) == (scheme, [])
