"""Small screens, color schemes, and text from right to left."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit, ask, wait_until_idle
from tests.support.gemini import Gemini, Text
from tests.support.live import Member

WIDE = (
    "A paragraph with " + "x" * 300 + "\n\n```python\n" + "y = 1  # " + "z" * 200 + "\n```\n\n"
    "| " + " | ".join("column" for _ in range(20)) + " |\n|" + "---|" * 20 + "\n"
)


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_wide_content_does_not_scroll_the_page_sideways(
    visit: Visit, alice: Member, gemini: Gemini, width: int
) -> None:
    gemini.on("w" * 200, [Text(WIDE)])
    page = visit(alice, viewport={"width": width, "height": 700})
    page.goto("/")
    ask(page, "w" * 200)
    expect(page.locator("article.assistant")).to_have_count(1)
    wait_until_idle(page)
    sideways = "(element) => element.scrollWidth - element.clientWidth"
    assert page.locator("html").evaluate(sideways) == 0
    assert page.locator("main").evaluate(sideways) == 0
    assert page.locator("pre").last.evaluate(sideways) > 0
    expect(page.get_by_label("Message", exact=True)).to_be_in_viewport()
    expect(page.get_by_role("button", name="Send")).to_be_in_viewport()


@pytest.mark.parametrize(
    ("scheme", "background"), [("light", "rgb(251, 250, 247)"), ("dark", "rgb(24, 23, 20)")]
)
def test_the_page_follows_the_color_scheme_of_the_system(
    visit: Visit, alice: Member, scheme: str, background: str
) -> None:
    page = visit(alice, color_scheme=scheme)
    page.goto("/")
    assert page.locator("html").evaluate("(html) => getComputedStyle(html).backgroundColor") == background


def test_right_to_left_text_is_laid_out_from_right_to_left(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("مرحبا", [Text("أهلا وسهلا\n\nand English\n\n```python\nx = 1\n```")])
    page = visit(alice)
    page.goto("/")
    ask(page, "مرحبا")
    expect(page.locator("article.assistant")).to_have_count(1)
    wait_until_idle(page)
    direction = "(element) => getComputedStyle(element).direction"
    assert page.locator(".bubble").evaluate(direction) == "rtl"
    assert page.locator("#conversations [aria-current]").evaluate(direction) == "rtl"
    assert page.locator("pre code").evaluate(direction) == "ltr"
    # the English paragraph starts at the left edge
    edges = page.locator(".prose p").evaluate_all(
        """(all) => all.map((p) => {
            const range = document.createRange();
            range.selectNodeContents(p);
            const [text, box] = [range.getBoundingClientRect(), p.getBoundingClientRect()];
            return [Math.round(text.left - box.left), Math.round(box.right - text.right)];
        })"""
    )
    assert edges[0][1] == 0
    assert edges[0][0] > 0
    assert edges[1][0] == 0
    assert edges[1][1] > 0
