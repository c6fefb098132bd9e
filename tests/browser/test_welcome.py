"""The page of a new conversation: greeting, who answers, composer and suggestions."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, wait_until_idle
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer, Member

DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
ZOOMED: dict[str, Any] = {"viewport": {"width": 640, "height": 400}}  # 1280 by 800 at 200 %


def box(page: Page, selector: str) -> Any:
    found = page.locator(selector).bounding_box()
    assert found, selector
    return found


def open_page(page: Page) -> None:
    page.goto("/")
    page.wait_for_load_state()


def test_the_greeting_and_the_composer_are_together_in_the_middle(visit: Visit, alice: Member) -> None:
    page = visit(alice, **DESKTOP)
    open_page(page)
    welcome, composer = box(page, "#welcome"), box(page, "#composer")
    gap = composer["y"] - welcome["y"] - welcome["height"]
    assert 0 < gap < 64
    assert 200 < composer["y"] < 500
    assert box(page, ".suggestions")["y"] > composer["y"] + composer["height"]


def test_the_composer_is_one_row_of_56_pixels_at_rest(visit: Visit, alice: Member) -> None:
    page = visit(alice, **DESKTOP)
    open_page(page)
    assert box(page, "#composer")["height"] == pytest.approx(56, abs=1)


def test_the_composer_moves_to_the_end_of_the_page_with_the_first_question(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("Hello", [Text("Hel"), Hold(), Text("lo")])
    page = visit(alice, **DESKTOP)
    open_page(page)
    ask(page, "Hello")
    expect(page.locator("article.live .prose")).to_have_text("Hel")
    assert box(page, "#composer")["y"] > 650
    expect(page.locator(".suggestions")).to_be_hidden()


def test_the_first_send_shifts_nothing_but_the_composer(visit: Visit, alice: Member) -> None:
    page = visit(alice, **DESKTOP)
    page.emulate_media(reduced_motion="no-preference")
    page.route("**/chat/stream?view=html", lambda route: None)  # the server does not respond
    open_page(page)
    top = box(page, "#composer")["y"]
    page.evaluate(
        """() => {
            window.tops = [];
            const record = () => {
                if (document.querySelector("article.user")) {
                    tops.push(document.querySelector("#composer").getBoundingClientRect().top);
                }
                requestAnimationFrame(record);
            };
            requestAnimationFrame(record);
        }"""
    )
    ask(page, "Hello")
    page.wait_for_timeout(600)
    tops = page.evaluate("tops")
    assert tops[0] < top + 150  # it starts where it was
    assert tops[-1] > 650
    assert sorted(tops) == tops


def test_the_greeting_is_reachable_at_200_percent(visit: Visit, alice: Member) -> None:
    page = visit(alice, **ZOOMED)
    open_page(page)
    greeting, composer = box(page, "#greeting"), box(page, "#composer")
    assert greeting["y"] >= box(page, ".pane-head")["height"]
    assert composer["y"] + composer["height"] <= 400
    ask(page, "one")
    wait_until_idle(page)
    assert box(page, "main")["height"] >= 230  # of 400 pixels


def test_the_welcome_says_that_the_demo_model_answers(
    visit: Visit, demo_server: LiveServer, sign_up: SignUp
) -> None:
    page = visit(sign_up(demo_server, "walter"))
    open_page(page)
    expect(page.locator(".who-answers")).to_contain_text("The demo model")


def test_the_title_begins_where_the_messages_begin(visit: Visit, alice: Member) -> None:
    page = visit(alice, **DESKTOP)
    open_page(page)
    ask(page, "one")
    wait_until_idle(page)
    assert box(page, ".conversation-title")["x"] == pytest.approx(box(page, "article.assistant")["x"], abs=1)


def test_a_title_from_right_to_left_begins_where_the_messages_begin(visit: Visit, alice: Member) -> None:
    page = visit(alice, **DESKTOP)
    open_page(page)
    ask(page, "خطة الرحلة إلى القاهرة")
    wait_until_idle(page)
    text = page.locator(".conversation-title").evaluate(
        """(title) => {
            const range = document.createRange();
            range.selectNodeContents(title);
            return range.getBoundingClientRect().left;
        }"""
    )
    assert text == pytest.approx(box(page, "article.assistant")["x"], abs=1)
