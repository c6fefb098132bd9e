"""Accessibility: axe, screen reader announcements, and focus."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, ask, wait_until_idle
from tests.support.gemini import Call, Gemini, Hold, Status, Text, Thought
from tests.support.live import LiveServer, Member

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
FULL = (
    "# Title\n\nText with `code`, a [link](https://example.org), *emphasis*.\n\n"
    "```python\ndef f(x):  # why\n    return 'é' + 1\n```\n\n| a | b |\n|--|--:|\n| 1 | 2 |\n\n"
    "- [x] done\n- [ ] to do\n\n> quoted\n\n$$x^2$$\n\nA footnote[^1].\n\n[^1]: Here.\n"
)


def axe_violations(page: Page) -> list[tuple[str, str]]:
    if not page.evaluate("'axe' in window"):  # inject it only once: it is half a megabyte
        page.evaluate(Axe().axe_script)
    found = page.evaluate("(rules) => axe.run(rules).then(({violations}) => violations)", RULES)
    return [(each["id"], node["html"][:150]) for each in found for node in each["nodes"]]


def empty(page: Page, gemini: Gemini) -> None:
    page.goto("/")
    page.wait_for_load_state()


def answered(page: Page, gemini: Gemini) -> None:
    gemini.on("go", [Thought("Hm."), Call("calculate", {"expression": "6*7"})], [Text(FULL)])
    empty(page, gemini)
    ask_by_button(page, "go")
    wait_until_idle(page)
    for summary in page.locator("article summary").all():
        summary.click()


def answering(page: Page, gemini: Gemini) -> None:
    gemini.on("go", [Thought("Hm."), Text(FULL), Hold()])
    empty(page, gemini)
    ask_by_button(page, "go")
    expect(page.locator("article.live .prose")).to_contain_text("Title")


def failed(page: Page, gemini: Gemini) -> None:
    gemini.on("go", [Status(400, "INVALID_ARGUMENT")])
    empty(page, gemini)
    ask_by_button(page, "go")
    page.locator(".run-outcome").get_by_text("Details").click()


def refused(page: Page, gemini: Gemini) -> None:
    empty(page, gemini)
    page.route("**/chat/stream?view=html", lambda route: route.abort())
    ask_by_button(page, "go")
    expect(page.locator("#notice")).not_to_be_empty()


def with_settings(page: Page, gemini: Gemini) -> None:
    empty(page, gemini)
    if page.get_by_role("button", name="Settings").is_hidden():
        page.get_by_role("button", name="Conversations").click()
    page.get_by_role("button", name="Settings").click()


def with_keys(page: Page, gemini: Gemini) -> None:
    empty(page, gemini)
    page.keyboard.press("Control+/")
    expect(page.get_by_role("dialog")).to_be_visible()


def ask_by_button(page: Page, question: str) -> None:
    page.get_by_label("Message", exact=True).fill(question)
    page.get_by_role("button", name="Send").click()


STATES: list[Callable[[Page, Gemini], None]] = [
    empty, answered, answering, failed, refused, with_settings, with_keys,
]  # fmt: skip


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_on_the_chat_page(
    visit: Visit, alice: Member, gemini: Gemini, device: dict[str, Any], state: Any
) -> None:
    page = visit(alice, expect_faults=["ERR_FAILED"], **device)
    state(page, gemini)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert (scheme, axe_violations(page)) == (scheme, [])


ACCOUNT = [
    "/accounts/email/", "/accounts/password/change/", "/accounts/logout/", "/accounts/reauthenticate/",
    "/nowhere/", "/?list=x",
]  # fmt: skip
VISITOR = [
    "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/accounts/password/reset/done/",
    "/accounts/password/reset/key/1-guessed/", "/accounts/password/reset/key/done/", "/accounts/inactive/",
    "/accounts/confirm-email/", "/accounts/confirm-email/guessed/",
]  # fmt: skip


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_on_the_other_pages(
    visit: Visit, server: LiveServer, alice: Member, device: dict[str, Any]
) -> None:
    found = []
    for page, paths in (
        (visit(alice, expect_faults=["40[04]"], **device), ACCOUNT),
        (visit(url=server.url, **device), [*VISITOR, set_up_link(server)]),
    ):
        for path in paths:
            page.goto(path)
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                found += [(path, scheme, fault) for fault in axe_violations(page)]
    assert found == []


def set_up_link(server: LiveServer) -> str:
    found = re.search(r"http://\S+(/accounts/set-up/\S+)", server.output())
    assert found
    return found[1]


def record_announcements(page: Page, selector: str) -> None:
    page.evaluate(
        """(selector) => {
            window.announced = [];
            const place = document.querySelector(selector);
            new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach(
                (node) => window.announced.push(node.textContent)))).observe(place, {childList: true});
        }""",
        selector,
    )


def test_the_start_and_the_end_of_an_answer_are_announced(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = visit(alice)
    page.goto("/")
    page.wait_for_load_state()
    record_announcements(page, "#announcer")
    ask(page, "Hello")
    wait_until_idle(page)
    expect(page.locator("#announcer")).to_have_text("The answer is complete.")
    assert page.evaluate("announced") == ["The answer is being written.", "The answer is complete."]


def test_a_long_answer_announces_that_it_continues(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("long", [Text("one"), Hold(), Text(" two")])
    page = visit(alice)
    page.clock.install()
    page.goto("/")
    page.wait_for_load_state()
    ask(page, "long")
    expect(page.locator("article.live .prose")).to_have_text("one")
    page.clock.run_for(7500)
    expect(page.locator("#announcer")).to_have_text("Still answering.")
    gemini.release()
    wait_until_idle(page)
    expect(page.locator("#announcer")).to_have_text("The answer is complete.")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("Whole answers", ["one\n\ntwo\n\nthree"]),
        ("By paragraph", ["one", "two", "three"]),
        ("Nothing", []),
    ],
)
def test_the_setting_decides_how_an_answer_is_read_aloud(
    visit: Visit, alice: Member, gemini: Gemini, choice: str, expected: list[str]
) -> None:
    gemini.on("go", [Text("one\n\ntwo\n\nthree")])
    page = visit(alice)
    page.goto("/")
    page.get_by_role("button", name="Settings").click()
    if choice != "Whole answers":
        with page.expect_response("**/preferences/"):
            page.get_by_text(choice, exact=True).click()
    page.keyboard.press("Escape")
    record_announcements(page, "#log")
    ask(page, "go")
    wait_until_idle(page)
    expect(page.locator("#announcer")).to_have_text("The answer is complete.")
    assert page.evaluate("announced") == expected


def test_a_very_long_answer_is_announced_by_its_length(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("go", [Text("x" * 700)])
    page = visit(alice)
    page.goto("/")
    ask(page, "go")
    wait_until_idle(page)
    expect(page.locator("#log")).to_have_text("The answer has 700 characters.")


def test_the_focus_does_not_move_while_an_answer_streams(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("go", [Text("one"), Hold(), Text(" two")])
    page = visit(alice)
    page.goto("/")
    ask(page, "first")
    wait_until_idle(page)
    ask(page, "go")
    expect(page.locator("article.live .prose")).to_have_text("one")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    link = page.locator("#conversations a").first
    link.focus()
    gemini.release()
    wait_until_idle(page)
    expect(link).to_be_focused()


def test_a_streaming_answer_is_not_in_a_live_region(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("go", [Text("one"), Hold()])
    page = visit(alice)
    page.goto("/")
    ask(page, "go")
    body = page.locator("article.live .prose")
    expect(body).to_have_attribute("aria-busy", "true")
    assert not body.evaluate(
        "(body) => Boolean(body.closest('[aria-live], [role=log], [role=status], [role=alert]'))"
    )


def test_every_turn_is_an_article_with_its_speaker(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    assert page.get_by_role("article").count() == 2
    names = page.get_by_role("article").locator("h2").all_inner_texts()
    assert names == ["You", "Chat assistant"]
    for role, name in (
        ("navigation", "Conversations"),
        ("main", "Conversation"),
        ("region", "Message composer"),
    ):
        expect(page.get_by_role(role, name=name, exact=True)).to_have_count(1)  # type: ignore[arg-type]
    first = page.locator("a, button, input, textarea").first
    expect(first).to_have_text("Skip to the message")
    first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_borders_stay_visible_with_forced_colors(visit: Visit, alice: Member) -> None:
    page = visit(alice, forced_colors="active")
    page.goto("/")
    for selector in ("#composer", ".conversation-search", "#new"):
        border = page.locator(selector).evaluate("(each) => getComputedStyle(each).borderTopWidth")
        assert border == "1px", selector


def test_scrolling_is_not_animated_with_reduced_motion(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("long", [Text("".join(f"line {n}\n\n" for n in range(60))), Hold()])
    page = visit(alice, viewport={"width": 800, "height": 600})
    page.goto("/")
    page.evaluate(
        """() => {
            window.behaviors = [];
            const real = Element.prototype.scrollTo;
            Element.prototype.scrollTo = function (to) {
                window.behaviors.push(to.behavior);
                real.call(this, to);
            };
        }"""
    )
    ask(page, "long")
    expect(page.locator("article.live .prose")).to_contain_text("line 59")
    page.mouse.move(400, 300)
    page.mouse.wheel(0, -400)
    page.get_by_role("button", name="Jump to latest").click()
    assert set(page.evaluate("behaviors")) == {"instant"}
    page.emulate_media(reduced_motion="no-preference")
    page.mouse.wheel(0, -400)
    page.get_by_role("button", name="Jump to latest").click()
    assert page.evaluate("behaviors").count("smooth") == 1
