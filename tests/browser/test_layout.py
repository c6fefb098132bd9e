"""Layout on a desktop, on a phone and zoomed in; and settings that persist."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, wait_until_idle
from tests.browser.seeds import many_conversations
from tests.support.gemini import Gemini, Status, Text
from tests.support.live import LiveServer, Member

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

DARK = "rgb(24, 23, 20)"


def test_text_is_in_a_column_of_readable_width(visit: Visit, alice: Member) -> None:
    page = visit(alice, viewport={"width": 1280, "height": 860})
    page.goto("/")
    ask(page, "word " * 200)
    wait_until_idle(page)
    box = page.locator(".prose").last.bounding_box()
    assert box
    assert box["width"] <= 704
    sidebar = page.get_by_role("navigation", name="Conversations").bounding_box()
    assert sidebar
    assert (sidebar["x"], sidebar["width"]) == (0, 272)


def test_conversations_are_a_drawer_on_a_phone(visit: Visit, alice: Member) -> None:
    page = visit(alice, **PHONE)
    page.goto("/")
    page.wait_for_load_state()
    drawer = page.get_by_role("navigation", name="Conversations")
    toggle = page.get_by_role("button", name="Conversations")
    expect(drawer).to_be_hidden()
    expect(toggle).to_have_attribute("aria-expanded", "false")
    toggle.click()
    expect(drawer).to_be_visible()
    expect(toggle).to_have_attribute("aria-expanded", "true")
    assert drawer.evaluate("(drawer) => drawer.contains(document.activeElement)")
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(toggle).to_be_focused()


def test_a_closed_sidebar_stays_closed(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.goto("/")
    page.wait_for_load_state()
    sidebar = page.get_by_role("navigation", name="Conversations")
    expect(sidebar).to_be_visible()
    with page.expect_response("**/preferences/"):
        page.get_by_role("button", name="Conversations").click()
    expect(sidebar).to_be_hidden()
    expect(page.get_by_role("link", name="New conversation")).to_be_visible()
    page.reload(wait_until="commit")
    expect(page.locator("body")).to_have_attribute("data-sidebar", "closed")
    expect(sidebar).to_be_hidden()


def test_the_dark_theme_applies_from_the_first_byte(visit: Visit, alice: Member) -> None:
    page = visit(alice, color_scheme="light")
    page.goto("/")
    page.get_by_role("button", name="Settings").click()
    page.get_by_text("Dark", exact=True).click()
    expect(page.get_by_text("Saved")).to_be_visible()
    expect(page.locator("html")).to_have_css("background-color", DARK)
    page.goto("/accounts/password/change/", wait_until="commit")  # a page without a script
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("html")).to_have_css("background-color", DARK)


CONTROLS = """button, summary, select, label.fold, .feedback-form label, .segmented-control label, #find,
    nav a, header a, .page-note a, .form-actions a, .menu-item"""


def assert_targets_are_large(page: Page) -> None:
    small = page.locator(CONTROLS).evaluate_all(
        """(all) => all
            .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 43.9)
            .map((each) => `${each.getBoundingClientRect().height} px: ${each.title || each.innerText}, `
                + each.outerHTML.replace(/\\s+/g, " ").slice(0, 160))"""
    )
    assert small == []


def test_touch_targets_are_large_enough(
    visit: Visit, server: LiveServer, sign_up: SignUp, gemini: Gemini
) -> None:
    tina = sign_up(server, "tina")
    many_conversations(server, tina.name, 60)  # the list has a link to older ones
    gemini.on("touch", [Text("```python\nx = 1\n```\n\nDone.")])
    gemini.on("fail", [Status(400, "INVALID_ARGUMENT")])
    page = visit(tina, **PHONE)
    page.goto("/")
    page.wait_for_load_state()
    assert_targets_are_large(page)
    for question in ("touch", "x\n" * 30, "fail"):
        page.get_by_label("Message", exact=True).fill(question)
        page.get_by_role("button", name="Send").tap()
        wait_until_idle(page)
        assert_targets_are_large(page)
    page.locator(".failure-details summary").tap()
    page.locator(".message-details summary").last.tap()
    page.get_by_role("button", name="Bad answer").last.tap()
    expect(page.locator(".feedback-form")).to_be_visible()
    page.locator(".edit-question").last.tap()
    assert_targets_are_large(page)
    for opened in ("Export", "Menu of “touch”", "Conversations"):
        page.locator("header").get_by_role("button", name=opened).tap()
        assert_targets_are_large(page)
        page.keyboard.press("Escape")
    page.get_by_role("button", name="Conversations").tap()
    page.get_by_role("searchbox").fill("touch")
    expect(page.locator(".hits a")).to_have_count(2)
    assert_targets_are_large(page)
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="Settings").tap()
    assert_targets_are_large(page)


@pytest.mark.parametrize(("width", "height"), [(320, 640), (640, 430)])
def test_a_zoomed_page_is_usable(visit: Visit, alice: Member, width: int, height: int) -> None:
    page = visit(alice, viewport={"width": width, "height": height})
    page.goto("/")
    ask(page, "w" * 100)
    wait_until_idle(page)
    sideways = "(element) => element.scrollWidth - element.clientWidth"
    assert page.locator("html").evaluate(sideways) == 0
    expect(page.get_by_label("Message", exact=True)).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Conversations").click()
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def test_code_scrolls_in_its_own_block_and_can_be_focused(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("code", [Text("```\n" + "x" * 200 + "\n```")])
    page = visit(alice, viewport={"width": 390, "height": 844})
    page.goto("/")
    ask(page, "code")
    wait_until_idle(page)
    code = page.locator(".prose pre")
    assert code.evaluate("(pre) => pre.scrollWidth > pre.clientWidth")
    code.focus()
    expect(code).to_be_focused()
