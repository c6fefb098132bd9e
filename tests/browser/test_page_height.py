"""The document is exactly as tall as the window: only the parts of the page scroll, never the page."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, settled
from tests.browser.seeds import long_conversation
from tests.gemini import Gemini, Hold, Text
from tests.live import LiveServer, Member

SMALL = {"width": 800, "height": 600}
DEVICES: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
# How much taller than the window the document is, and how far it has been scrolled.
SLIP = "() => [document.scrollingElement.scrollHeight - innerHeight, document.scrollingElement.scrollTop]"
# What is placed outside of the part that scrolls it, which makes that part's surroundings scroll, too.
ESCAPED = """() => [...document.querySelectorAll("body *")].filter((element) => {
    if (getComputedStyle(element).position !== "absolute" || !element.offsetParent) return false;
    let at = element.parentElement;
    while (at !== document.body && getComputedStyle(at).overflowY === "visible") at = at.parentElement;
    return at !== document.body && !at.contains(element.offsetParent);
}).map((element) => element.outerHTML.slice(0, 100))"""
LINES = "".join(f"line {n}\n\n" for n in range(60))


@pytest.fixture(scope="module")
def long_one(server: LiveServer, sign_up: SignUp) -> tuple[Member, str]:
    """A member with a conversation of twenty messages, each with a long answer's height."""
    member = sign_up(server, "peggy")
    return member, long_conversation(server, "peggy", 20, LINES + "message %s")


def opened(visit: Visit, long_one: tuple[Member, str], anchor: str = "", **options: Any) -> Page:
    member, path = long_one
    page = visit(member, **({"viewport": SMALL} | options))
    page.goto(path + anchor)
    page.wait_for_load_state()
    return page


@pytest.mark.parametrize("device", DEVICES)
def test_a_long_conversation_is_no_taller_than_the_window(
    visit: Visit, long_one: tuple[Member, str], device: str
) -> None:
    page = opened(visit, long_one, **DEVICES[device])
    assert page.evaluate(SLIP) == [0, 0]


def test_walking_by_the_keyboard_leaves_the_header_in_view(
    visit: Visit, long_one: tuple[Member, str]
) -> None:
    page = opened(visit, long_one)
    for _ in range(4):
        page.keyboard.press("Alt+ArrowUp")
    expect(page.locator("article").nth(-4)).to_be_focused()
    assert page.evaluate(SLIP) == [0, 0]
    expect(page.get_by_role("heading", level=1)).to_be_in_viewport()


def test_staying_at_the_question_leaves_the_header_in_view(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("first", [Text(LINES)])
    gemini.on("second", [Text("short"), Hold(), Text(LINES)])
    page = visit(alice, viewport=SMALL)
    page.context.add_cookies([{"name": "parley_follow", "value": "off", "url": alice.url}])
    page.goto("/")
    ask(page, "first")
    settled(page)
    ask(page, "second")
    expect(page.locator("article.live .prose")).to_have_text("short")
    assert page.evaluate(SLIP) == [0, 0]
    gemini.release()
    settled(page)
    assert page.evaluate(SLIP) == [0, 0]
    expect(page.get_by_role("heading", level=1)).to_be_in_viewport()


def test_a_link_to_a_message_shows_the_message_below_the_header(
    visit: Visit, long_one: tuple[Member, str]
) -> None:
    member, path = long_one
    messages = member.http.get(f"/api/v1/conversations/{path.split('/')[2]}").json()["messages"]["items"]
    page = opened(visit, long_one, f"#m-{messages[4]['id']}")
    assert page.evaluate(SLIP) == [0, 0]
    expect(page.get_by_role("heading", level=1)).to_be_in_viewport()
    expect(page.locator(f"#m-{messages[4]['id']}")).to_be_in_viewport()


def test_a_link_within_a_message_moves_the_messages_only(visit: Visit, long_one: tuple[Member, str]) -> None:
    page = opened(visit, long_one)
    page.evaluate(
        """() => {
            document.querySelector("article .prose p").id = "note";
            document.querySelector("article:last-child .prose p").innerText = "";
            const link = document.createElement("a");
            [link.href, link.textContent] = ["#note", "to the note"];
            document.querySelector("article:last-child .prose").append(link);
        }"""
    )
    page.get_by_role("link", name="to the note").click()
    expect(page.locator("#note")).to_be_in_viewport()
    assert page.evaluate(SLIP) == [0, 0]


def test_focus_on_a_button_with_a_hidden_label_moves_the_messages_only(
    visit: Visit, long_one: tuple[Member, str]
) -> None:
    page = opened(visit, long_one)
    for n in range(20):
        page.locator("article").nth(n).get_by_role("button", name="Copy").first.focus()
    page.locator("article").first.get_by_role("button").first.focus()
    assert page.evaluate(SLIP) == [0, 0]


def test_a_reload_keeps_the_page_where_it_is(visit: Visit, long_one: tuple[Member, str]) -> None:
    page = opened(visit, long_one)
    page.keyboard.press("Alt+ArrowUp")
    page.reload()
    page.wait_for_load_state()
    assert page.evaluate(SLIP) == [0, 0]


def test_many_conversations_being_answered_make_the_page_no_taller(
    visit: Visit, server: LiveServer, sign_up: SignUp, gemini: Gemini
) -> None:
    """Each has a hidden label in the sidebar, which scrolls by itself."""
    member = sign_up(server, "quentin")
    gemini.on("wait", [Text("one"), Hold()])
    for _ in range(30):
        with member.ask("wait") as response:
            next(response.iter_raw())
    page = visit(member, viewport=SMALL)
    page.goto("/")
    expect(page.locator(".answering")).to_have_count(30)
    assert page.evaluate(SLIP) == [0, 0]
    assert page.evaluate(ESCAPED) == []


@pytest.mark.parametrize("device", DEVICES)
def test_every_part_that_scrolls_holds_its_hidden_labels(
    visit: Visit, long_one: tuple[Member, str], device: str
) -> None:
    page = opened(visit, long_one, **DEVICES[device])
    assert page.evaluate(ESCAPED) == []


def test_every_part_of_an_account_page_that_scrolls_holds_its_hidden_labels(
    visit: Visit, alice: Member
) -> None:
    page = visit(alice)
    page.goto("/accounts/email/")
    assert page.evaluate(ESCAPED) == []
