"""Rendered answers in the page: links inside an answer, code that is selected, and colors of a diff."""

from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit, ask, conversation_of, wait_until_idle
from tests.support.gemini import Gemini, Hold, Text, Thought
from tests.support.live import Member

LONG = "\n\n".join(f"Paragraph {n}." for n in range(60))
MIN_CONTRAST = 4.5


def answered(page: Page, gemini: Gemini, answer: str) -> Locator:
    """Ask, wait for ``answer``, and return its body."""
    gemini.on("show", [Text(answer)])
    page.goto("/")
    ask(page, "show")
    wait_until_idle(page)
    return page.locator("article.assistant .prose")


def test_a_link_of_a_contents_list_jumps_to_its_heading(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice)
    body = answered(
        page, gemini, f"- [What it costs](#what-it-costs)\n\n{LONG}\n\n## What it costs?\n\n{LONG}"
    )
    address = page.url
    body.get_by_role("link", name="What it costs").click()
    expect(body.get_by_role("heading", name="What it costs?")).to_be_in_viewport()
    expect(body.get_by_role("heading", name="What it costs?")).to_be_focused()
    assert (len(page.context.pages), page.url) == (1, address)


def test_an_update_of_the_page_keeps_the_focus_and_the_label(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = visit(alice)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    body = answered(page, gemini, f"- [Cost](#cost)\n\n```\ncode\n```\n\n## Cost\n\n{LONG}")
    body.get_by_role("button", name="Copy").click()
    body.get_by_role("link", name="Cost").click()
    path = f"/api/v1/conversations/{conversation_of(page)}"
    assert alice.http.patch(path, json={"title": "Renamed"}, headers=alice.headers()).status_code == 200
    expect(page.get_by_role("heading", name="Renamed", level=1)).to_be_visible()
    expect(body.get_by_role("button", name="Copied")).to_be_visible()
    expect(body.get_by_role("heading", name="Cost")).to_be_focused()


def test_a_footnote_and_its_reference_jump_to_each_other(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice)
    body = answered(page, gemini, f"It grew[^1].\n\n{LONG}\n\n[^1]: By 5 %.")
    reference, back = body.locator(".footnote-ref a"), body.locator(".footnote a")
    reference.click()
    expect(back).to_be_focused()
    expect(back).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(reference).to_be_focused()
    expect(reference).to_be_in_viewport()


def test_copied_code_does_not_end_in_a_newline(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    body = answered(page, gemini, "```sh\nrm -r build\n```")
    body.get_by_role("button", name="Copy").click()
    expect(page.locator("#announcer")).to_have_text("The code is copied.")
    assert page.evaluate("navigator.clipboard.readText()") == "rm -r build"


def test_a_selection_over_code_copies_no_labels(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    body = answered(page, gemini, "Before\n\n```python\nx = 1\n```\n\nAfter")
    body.evaluate("(body) => getSelection().selectAllChildren(body)")
    page.keyboard.press("Control+c")
    copied = str(page.evaluate("navigator.clipboard.readText()"))
    assert copied.split() == ["Before", "x", "=", "1", "After"]


# The colors of an element's text and of what is behind it, as the screen has them.
COLORS = """(element) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const behind = [];
  for (let each = element; each; each = each.parentElement)
    behind.unshift(getComputedStyle(each).backgroundColor);
  const paint = (color) => { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); };
  const pixel = () => [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  behind.forEach(paint);
  const background = pixel();
  paint(getComputedStyle(element).color);
  return [pixel(), background];
}"""


def luminance(color: list[int]) -> float:
    red, green, blue = (
        value / 12.92 if value <= 0.04 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in color)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(colors: Any) -> float:
    light, dark = sorted(map(luminance, colors), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_lines_of_a_diff_have_their_colors(visit: Visit, alice: Member, gemini: Gemini) -> None:
    for scheme in ("light", "dark"):
        page = visit(alice, color_scheme=scheme)
        body = answered(page, gemini, "```diff\n-x = 1\n+x = 2\n y = 3\n```")
        removed, added = (body.locator(name).evaluate(COLORS) for name in (".t-gd", ".t-gi"))
        plain = body.locator("code").evaluate(COLORS)
        assert len({str(colors[0]) for colors in (removed, added, plain)}) == 3
        assert contrast(removed) >= MIN_CONTRAST
        assert contrast(added) >= MIN_CONTRAST


def test_a_thought_is_markdown_while_it_streams_and_after_a_reload(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    first, second = "**Reading the question**\n\nIt asks for ", "`two` things:\n\n1. this\n2. that\n"
    gemini.on("think", [Thought(first), Hold(), Thought(second), Hold(), Text("So.")])
    page = visit(alice)
    page.goto("/")
    ask(page, "think")
    thought = page.locator("details.thought-step .step-text")
    expect(thought.locator("strong")).to_have_text("Reading the question")
    page.reload()  # in the middle of the thought
    expect(thought.locator("strong")).to_have_text("Reading the question")
    gemini.release()
    expect(thought.locator("li")).to_have_text(["this", "that"])
    gemini.release()
    wait_until_idle(page)
    live = thought.inner_html()
    assert "*" not in live
    page.reload()
    expect(thought).to_have_count(1)
    assert thought.inner_html() == live
