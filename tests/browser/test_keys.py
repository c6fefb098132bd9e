"""Keyboard shortcuts, and a visit from sign-up to sign-out without a mouse."""

from typing import Any

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
    find = page.get_by_label("Search your conversations")
    expect(find).to_be_focused()
    page.keyboard.type("no such words")
    page.keyboard.press("Enter")
    expect(page.locator("#found")).to_contain_text("Nothing was found.")


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
    assert page.evaluate("navigator.clipboard.readText()") == "x = 1"


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


PRESS = """([target, options]) => document.querySelector(target).dispatchEvent(
    new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...options }))"""
MAC = "Object.defineProperty(navigator, 'platform', {get: () => 'MacIntel'})"


def test_shortcuts_go_by_place_on_a_cyrillic_layout(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.goto("/")
    page.wait_for_load_state()
    page.evaluate(PRESS, ["#query", {"key": "л", "code": "KeyK", "ctrlKey": True}])
    expect(page.locator("#find")).to_be_focused()


@pytest.mark.parametrize(
    "pressed",
    [
        {"key": "k", "code": "KeyK", "ctrlKey": True},
        {"key": "ArrowUp", "code": "ArrowUp", "altKey": True},
    ],
    ids=["ctrl-k", "alt-up"],
)
def test_the_text_fields_own_keys_of_a_mac_are_left_to_it(
    visit: Visit, alice: Member, pressed: dict[str, object]
) -> None:
    page = visit(alice)
    page.add_init_script(MAC)
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    assert page.evaluate(PRESS, ["#query", pressed]) is True  # not prevented
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_cmd_takes_the_place_of_ctrl_on_a_mac(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.add_init_script(MAC)
    page.goto("/")
    page.wait_for_load_state()
    page.evaluate(PRESS, ["#query", {"key": "k", "code": "KeyK", "metaKey": True}])
    expect(page.locator("#find")).to_be_focused()
    expect(page.locator("#menu")).to_have_attribute("title", "Conversations (⌘+Shift+S)")


TABLET: Any = {"viewport": {"width": 820, "height": 1180}, "has_touch": True, "is_mobile": True}


def test_enter_sends_on_a_tablet_once_a_real_keyboard_was_used(visit: Visit, alice: Member) -> None:
    page = visit(alice, **TABLET)
    page.goto("/")
    page.wait_for_load_state()
    page.get_by_label("Message", exact=True).focus()
    page.keyboard.press("Shift+H")  # a keyboard on the screen has no Shift event
    page.keyboard.type("ello")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .prose")).to_have_text("You said: Hello")


def test_control_enter_sends_on_a_touch_screen(visit: Visit, alice: Member) -> None:
    page = visit(alice, **TABLET)
    page.goto("/")
    page.wait_for_load_state()
    page.get_by_label("Message", exact=True).fill("Hello")
    page.evaluate(PRESS, ["#query", {"key": "Enter", "code": "Enter", "ctrlKey": True}])
    expect(page.locator("article.assistant .prose")).to_have_text("You said: Hello")


def test_every_button_without_words_has_a_tooltip(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    bare = page.evaluate(
        """() => [...document.querySelectorAll("button, a.button")].filter((button) => {
            const words = button.cloneNode(true);
            for (const hidden of words.querySelectorAll(".visually-hidden")) hidden.remove();
            return !words.textContent.trim() && !button.title;
        }).map((button) => button.outerHTML)"""
    )
    assert bare == []


def test_everything_from_sign_up_to_sign_out_works_without_a_mouse(
    visit: Visit, server: LiveServer, gemini: Gemini
) -> None:
    gemini.on("Why?", [Text("Because.")])
    page = visit(url=server.url)
    page.goto("/")
    reach(page, "link", "Sign up")
    page.keyboard.press("Enter")
    expect(page.get_by_label("User name")).to_be_visible()
    page.get_by_label("User name").focus()
    for value in ("kim", "kim@example.org", PASSWORD, PASSWORD):
        page.keyboard.type(value)
        page.keyboard.press("Tab")
    reach(page, "button", "Sign up")
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
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def reach(page: Page, role: str, name: str, *, key: str = "Tab") -> None:
    """Press ``key`` until the element has the focus."""
    wanted = page.get_by_role(role, name=name, exact=True).or_(page.get_by_role(role, name=name)).first  # type: ignore[arg-type]
    for _ in range(60):
        if wanted.count() and wanted.evaluate("(each) => each === document.activeElement"):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{name} cannot be reached")
