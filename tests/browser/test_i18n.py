"""Text from right to left, beside code from left to right, on a page of either direction."""

from playwright.sync_api import expect

from tests.browser.conftest import Visit, ask, wait_until_idle
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import Member

DIRECTION = "(element) => getComputedStyle(element).direction"


def test_each_block_has_its_own_direction_while_streaming_and_after(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on(
        "مرحبا", [Text("أهلا `code`\n\nand English\n\n```python\nx = 1\n```\n\nنعم"), Hold(), Text(" نعم")]
    )
    page = visit(alice)
    page.goto("/")
    ask(page, "مرحبا")
    expect(page.locator(".prose > *")).to_have_count(4)
    for moment in ("live", "settled"):
        blocks = page.locator(".prose > p").evaluate_all(f"(all) => all.map({DIRECTION})")
        assert blocks == ["rtl", "ltr", "rtl"], moment
        assert page.locator(".prose pre").evaluate(DIRECTION) == "ltr"
        gemini.release()
        wait_until_idle(page)
    assert page.locator("h1").evaluate(DIRECTION) == "rtl"
    assert page.locator(".bubble").evaluate(DIRECTION) == "rtl"


def test_the_page_can_be_laid_out_from_right_to_left(visit: Visit, alice: Member) -> None:
    page = visit(alice, viewport={"width": 1280, "height": 860})
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    page.evaluate("document.documentElement.dir = 'rtl'")
    box = page.get_by_role("navigation", name="Conversations").bounding_box()
    assert box
    assert box["x"] + box["width"] == 1280
    bubble = page.locator(".bubble").bounding_box()
    assert bubble
    assert bubble["x"] < 400  # the member's own messages are on the other side
    assert page.locator("html").evaluate("(html) => html.scrollWidth - html.clientWidth") == 0
