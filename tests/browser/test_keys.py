"""Keyboard shortcuts, and a visit from sign-up to sign-out without a mouse."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, ask, wait_until_idle
from tests.support.gemini import Gemini, Text
from tests.support.live import PASSWORD, LiveServer, Member

PLACES = pytest.mark.parametrize("place", ["the composer", "the page"])


def focus_on(page: Page, place: str) -> None:
    page.wait_for_load_state()
    if place == "the composer":
        page.get_by_label("Message", exact=True).focus()
    else:
        page.evaluate("document.activeElement.blur()")


@PLACES
def test_control_k_finds_a_conversation(visit: Visit, alice: Member, place: str) -> None:
    page = visit(alice)
    page.goto("/")
    focus_on(page, place)
    page.keyboard.press("Control+k")
    find = page.get_by_label("Find a conversation")
    expect(find).to_be_focused()
    page.keyboard.type("no such words")
    page.keyboard.press("Enter")
    expect(page.locator("#conversations")).to_contain_text("No title has these words.")


@PLACES
def test_control_shift_s_toggles_the_sidebar(visit: Visit, alice: Member, place: str) -> None:
    page = visit(alice)
    page.goto("/")
    focus_on(page, place)
    sidebar = page.get_by_role("navigation", name="Conversations")
    for _ in range(2):
        with page.expect_response("**/preferences/"):
            page.keyboard.press("Control+Shift+S")
        expect(sidebar).to_be_hidden()
        with page.expect_response("**/preferences/"):
            page.keyboard.press("Control+Shift+S")
        expect(sidebar).to_be_visible()


@PLACES
def test_control_slash_opens_the_list_of_shortcuts(visit: Visit, alice: Member, place: str) -> None:
    page = visit(alice)
    page.goto("/")
    focus_on(page, place)
    page.keyboard.press("Control+/")
    keys = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(keys).to_be_visible()
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()


@PLACES
def test_control_shift_o_starts_a_conversation(visit: Visit, alice: Member, place: str) -> None:
    page = visit(alice)
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    focus_on(page, place)
    page.keyboard.press("Control+Shift+O")
    expect(page.get_by_role("heading", level=1)).to_have_text("What would you like to know?")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


@PLACES
def test_shortcuts_copy_the_last_answer_and_the_last_code(
    visit: Visit, alice: Member, gemini: Gemini, place: str
) -> None:
    gemini.on("code", [Text("**Here**:\n\n```\nx = 1\n```")])
    page = visit(alice)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/")
    ask(page, "code")
    wait_until_idle(page)
    focus_on(page, place)
    # Chromium handles the real key itself
    page.evaluate(
        """document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", {key: "C", ctrlKey: true, shiftKey: true, bubbles: true}))"""
    )
    expect(page.locator(".toast")).to_contain_text("The message is copied.")
    assert page.evaluate("navigator.clipboard.readText()") == "**Here**:\n\n```\nx = 1\n```"
    page.keyboard.press("Control+Shift+;")
    expect(page.locator("#announcer")).to_have_text("The code is copied.")
    assert page.evaluate("navigator.clipboard.readText()") == "x = 1\n"


@PLACES
def test_shortcuts_move_the_focus_between_messages_and_the_composer(
    visit: Visit, alice: Member, place: str
) -> None:
    page = visit(alice)
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    focus_on(page, place)
    page.keyboard.press("Alt+ArrowUp")
    expect(page.locator("article.assistant")).to_be_focused()
    page.keyboard.press("Alt+ArrowUp")
    expect(page.locator("article.user")).to_be_focused()
    page.keyboard.press("Alt+ArrowDown")
    expect(page.locator("article.assistant")).to_be_focused()
    page.keyboard.press("Shift+Escape")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_everything_from_sign_up_to_sign_out_works_without_a_mouse(
    visit: Visit, server: LiveServer, gemini: Gemini
) -> None:
    gemini.on("Why?", [Text("Because.")])
    page = visit(url=server.url)
    page.goto("/")
    reach(page, "link", "sign up")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Username")).to_be_visible()
    page.get_by_label("Username").focus()
    for value in ("kim", "kim@example.org", PASSWORD, PASSWORD):
        page.keyboard.type(value)
        page.keyboard.press("Tab")
    reach(page, "button", "Sign Up")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.wait_for_load_state()
    page.keyboard.type("Why?")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .prose")).to_have_text("Because.")
    wait_until_idle(page)
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    reach(page, "button", "Regenerate", key="Shift+Tab")
    page.keyboard.press("Enter")
    wait_until_idle(page)
    expect(page.locator("article.assistant")).to_have_count(1)
    reach(page, "button", "Settings")
    page.keyboard.press("Enter")
    reach(page, "button", "Sign out")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign In")


def reach(page: Page, role: str, name: str, *, key: str = "Tab") -> None:
    """Press ``key`` until the element has the focus."""
    wanted = page.get_by_role(role, name=name, exact=True).or_(page.get_by_role(role, name=name)).first  # type: ignore[arg-type]
    for _ in range(60):
        if wanted.count() and wanted.evaluate("(each) => each === document.activeElement"):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{name} cannot be reached")
