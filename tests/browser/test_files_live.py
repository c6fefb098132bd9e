"""Files that an agent makes, while its reply is written."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, serve, wait_until_idle
from tests.support.files import picture
from tests.support.gemini import Gemini, Hold, Picture, Step, Text
from tests.support.live import LiveServer, Member

STEPS: list[Step] = [
    Text("Here is the first:\n\n"), Picture(picture(800, 600)), Text("And **another**"),
    Picture(picture(400, 400)), Text(" one."), Hold(), Text("\n\nDo you like them?"),
]  # fmt: skip
# Marks the nodes of the live reply; a node that is replaced at the end loses its mark.
MARK = """() => document.querySelectorAll("article.live .picture-card, article.live .prose > *")
    .forEach((node, n) => { node.marked = n + 1 })"""
MARKS = """() => [...document.querySelectorAll(".assistant .picture-card, .assistant .prose > *")]
    .map((node) => node.marked ?? 0)"""


@pytest.fixture(scope="module")
def server(gemini_server: Gemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    yield from serve(tmp_path_factory.mktemp("live-files"), gemini_server)


@pytest.fixture(scope="module")
def alice(server: LiveServer, sign_up: SignUp) -> Member:
    return sign_up(server, "alice")


def order(page: Page) -> list[str]:
    """Return the blocks of the newest reply, in order."""
    blocks = page.locator("article").last.locator(".prose > *, .picture-card")
    found: list[str] = blocks.evaluate_all(
        "(all) => all.map((each) => each.matches('li') ? '[picture]' : each.textContent)"
    )
    return found


def test_a_picture_is_shown_while_the_reply_is_written_and_stays_in_place(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("Draw", STEPS)
    page = visit(alice)
    page.goto("/")
    ask(page, "Draw")
    live = page.locator("article.live")
    expect(live.get_by_text("one.")).to_be_visible()
    expect(live.locator("img").first).not_to_have_js_property("naturalWidth", 0)
    expected = ["Here is the first:", "[picture]", "And another", "[picture]", "one."]
    assert order(page) == expected
    page.reload()  # the server shows the same while the run goes on
    expect(live.locator(".picture-card")).to_have_count(2)
    assert order(page) == expected
    gemini.release()
    wait_until_idle(page)
    assert order(page) == [*expected, "Do you like them?"]
    page.reload()
    assert order(page) == [*expected, "Do you like them?"]


def test_the_end_of_a_run_replaces_no_picture_and_no_text(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("Paint", [Text("One:\n\n"), Picture(picture(300, 200)), Text("Two."), Hold()])
    page = visit(alice)
    page.goto("/")
    ask(page, "Paint")
    expect(page.locator("article.live .prose").last).to_have_text("Two.")
    page.evaluate(MARK)
    gemini.release()
    wait_until_idle(page)
    assert page.evaluate(MARKS) == [1, 2, 3]


def test_an_open_panel_of_files_is_updated_when_the_reply_ends(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("Sketch", [Text("Wait."), Hold(), Picture(picture(300, 200))])
    page = visit(alice)
    page.goto("/")
    ask(page, "Sketch")
    expect(page.locator("article.live .prose")).to_have_text("Wait.")
    page.get_by_role("link", name="Files", exact=True).click()
    panel = page.get_by_role("dialog", name="Files")
    expect(panel).to_contain_text("This conversation has no files yet.")
    gemini.release()
    expect(panel.locator(".listed-file")).to_have_count(1)
