"""Long questions are folded, and unfold."""

from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, ask, wait_until_idle
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import Member

LONG = "\n".join(f"line {n}" for n in range(2000))


def height(page: Page) -> float:
    found = page.locator(".bubble").bounding_box()
    assert found
    return float(found["height"])


def answered(page: Page, question: str) -> None:
    page.goto("/")
    ask(page, question)
    wait_until_idle(page)


def test_a_long_question_is_folded_after_a_reload(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    answered(page, LONG)
    assert height(page) < 500
    page.reload()
    assert height(page) < 500
    expect(page.get_by_text("Show all")).to_be_visible()


def test_a_long_question_is_folded_in_the_frame_that_shows_it(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on(LONG, [Text("a"), Hold()])
    page = visit(alice)
    page.goto("/")
    ask(page, LONG)
    expect(page.locator("article.live")).to_be_visible()
    assert height(page) < 500


def test_a_long_question_unfolds_and_folds(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    answered(page, LONG)
    page.get_by_text("Show all").click()
    assert height(page) > 40_000
    less = page.get_by_text("Show less")
    less.click()
    assert height(page) < 500
    expect(page.get_by_text("Show all")).to_be_in_viewport()


def test_a_long_question_unfolds_by_keyboard(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    answered(page, LONG)
    page.get_by_role("checkbox", name="Show all").focus()
    page.keyboard.press("Space")
    assert height(page) > 40_000


def test_a_word_that_is_searched_for_unfolds_its_question(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on(LONG, [Text("a")])
    page = visit(alice)
    answered(page, LONG)
    page.goto(f"{page.url}#:~:text=line%201500")  # scrolls as the browser's search in the page does
    expect(page.get_by_role("checkbox")).to_be_checked()
    assert height(page) > 40_000
    place = """() => {
        const range = new Range();
        range.setStart(document.querySelector(".bubble").firstChild, TEXT);
        return range.getBoundingClientRect().top / innerHeight;
    }""".replace("TEXT", str(LONG.index("line 1500")))
    assert 0 < page.evaluate(place) < 1


def test_a_long_question_unfolds_without_scripts(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    answered(page, LONG)
    options: dict[str, Any] = {"java_script_enabled": False}
    plain = visit(alice, **options)
    plain.goto(page.url)
    assert height(plain) < 500
    plain.get_by_text("Show all").click()
    assert height(plain) > 40_000


def test_a_short_question_is_shown_whole(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    answered(page, "\n".join(f"line {n}" for n in range(15)))
    expect(page.get_by_text("Show all")).to_have_count(0)
