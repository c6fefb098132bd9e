"""The document is exactly as tall as the window: parts of the page scroll, the page never does."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, wait_until_idle
from tests.browser.seeds import long_conversation
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer, Member

SMALL = {"width": 800, "height": 600}
DEVICES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
# Pixels by which the document is taller than the window, and by which it is scrolled.
OVERFLOW = "() => [document.scrollingElement.scrollHeight - innerHeight, document.scrollingElement.scrollTop]"
# Elements positioned relative to an ancestor of their scroll container, which make that ancestor scroll.
ESCAPED = """() => [...document.querySelectorAll("body *")].filter((element) => {
    if (getComputedStyle(element).position !== "absolute" || !element.offsetParent) return false;
    let at = element.parentElement;
    while (at !== document.body && getComputedStyle(at).overflowY === "visible") at = at.parentElement;
    return at !== document.body && !at.contains(element.offsetParent);
}).map((element) => element.outerHTML.slice(0, 100))"""
LINES = "".join(f"line {n}\n\n" for n in range(60))


@pytest.fixture(scope="module")
def long_chat(server: LiveServer, sign_up: SignUp) -> tuple[Member, str]:
    """Return a member and the path of a conversation of twenty long messages."""
    member = sign_up(server, "peggy")
    return member, long_conversation(server, member.name, 20, LINES + "message %s")


def open_chat(visit: Visit, long_chat: tuple[Member, str], anchor: str = "", **options: Any) -> Page:
    member, path = long_chat
    page = visit(member, **({"viewport": SMALL} | options))
    page.goto(path + anchor)
    page.wait_for_load_state()
    return page


@pytest.mark.parametrize("device", DEVICES)
def test_the_page_of_a_long_conversation_is_no_taller_than_the_window(
    visit: Visit, long_chat: tuple[Member, str], device: str
) -> None:
    page = open_chat(visit, long_chat, **DEVICES[device])
    assert page.evaluate(OVERFLOW) == [0, 0]


def test_keyboard_navigation_keeps_the_header_in_view(visit: Visit, long_chat: tuple[Member, str]) -> None:
    page = open_chat(visit, long_chat)
    for _ in range(4):
        page.keyboard.press("Alt+ArrowUp")
    expect(page.locator("article").nth(-4)).to_be_focused()
    assert page.evaluate(OVERFLOW) == [0, 0]
    expect(page.get_by_role("heading", level=1)).to_be_in_viewport()


def test_staying_at_the_question_keeps_the_header_in_view(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("first", [Text(LINES)])
    gemini.on("second", [Text("short"), Hold(), Text(LINES)])
    page = visit(alice, viewport=SMALL)
    page.context.add_cookies([{"name": "parley_follow", "value": "off", "url": alice.url}])
    page.goto("/")
    ask(page, "first")
    wait_until_idle(page)
    ask(page, "second")
    expect(page.locator("article.live .prose")).to_have_text("short")
    assert page.evaluate(OVERFLOW) == [0, 0]
    gemini.release()
    wait_until_idle(page)
    assert page.evaluate(OVERFLOW) == [0, 0]
    expect(page.get_by_role("heading", level=1)).to_be_in_viewport()


def test_a_link_to_a_message_shows_the_message_below_the_header(
    visit: Visit, long_chat: tuple[Member, str]
) -> None:
    member, path = long_chat
    messages = member.http.get(f"/api/v1/conversations/{path.split('/')[2]}").json()["messages"]["items"]
    page = open_chat(visit, long_chat, f"#m-{messages[4]['id']}")
    assert page.evaluate(OVERFLOW) == [0, 0]
    expect(page.get_by_role("heading", level=1)).to_be_in_viewport()
    expect(page.locator(f"#m-{messages[4]['id']}")).to_be_in_viewport()


def test_a_link_within_a_message_scrolls_only_the_messages(
    visit: Visit, long_chat: tuple[Member, str]
) -> None:
    page = open_chat(visit, long_chat)
    page.evaluate(
        """() => {
            document.querySelector("article .prose p").id = "note";
            document.querySelector("article:last-child .prose p").innerText = "";
            const link = document.createElement("a");
            [link.href, link.textContent] = ["#note", "to the note"];
            document.querySelector("article:last-child").append(link);
        }"""
    )
    page.get_by_role("link", name="to the note").click()
    expect(page.locator("#note")).to_be_in_viewport()
    assert page.evaluate(OVERFLOW) == [0, 0]


def test_focus_on_a_button_with_a_hidden_label_scrolls_only_the_messages(
    visit: Visit, long_chat: tuple[Member, str]
) -> None:
    page = open_chat(visit, long_chat)
    for n in range(20):
        page.locator("article").nth(n).get_by_role("button", name="Copy").first.focus()
    page.locator("article").first.get_by_role("button").first.focus()
    assert page.evaluate(OVERFLOW) == [0, 0]


def test_a_reload_does_not_scroll_the_page(visit: Visit, long_chat: tuple[Member, str]) -> None:
    page = open_chat(visit, long_chat)
    page.keyboard.press("Alt+ArrowUp")
    page.reload()
    page.wait_for_load_state()
    assert page.evaluate(OVERFLOW) == [0, 0]


def test_many_active_conversations_make_the_page_no_taller(
    visit: Visit, server: LiveServer, sign_up: SignUp, gemini: Gemini
) -> None:
    # Each has a hidden label in the sidebar, which scrolls on its own.
    member = sign_up(server, "quentin")
    gemini.on("wait", [Text("one"), Hold()])
    for _ in range(30):
        with member.ask("wait") as stream:
            stream.until("run.started")
    page = visit(member, viewport=SMALL)
    page.goto("/")
    expect(page.locator(".answering-mark")).to_have_count(30)
    assert page.evaluate(OVERFLOW) == [0, 0]
    assert page.evaluate(ESCAPED) == []


@pytest.mark.parametrize("device", DEVICES)
def test_every_scrolling_part_contains_its_hidden_labels(
    visit: Visit, long_chat: tuple[Member, str], device: str
) -> None:
    page = open_chat(visit, long_chat, **DEVICES[device])
    assert page.evaluate(ESCAPED) == []


def test_scrolling_parts_of_an_account_page_contain_their_hidden_labels(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.goto("/accounts/email/")
    assert page.evaluate(ESCAPED) == []
