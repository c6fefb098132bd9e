"""The composer: its size, its drafts, and typing while an answer streams."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import SignUp, Visit, ask, shown_texts, wait_until_idle
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer, Member


def message(page: Page) -> Any:
    return page.get_by_label("Message", exact=True)


def height(page: Page) -> float:
    return float(message(page).evaluate("(field) => field.getBoundingClientRect().height"))


def open_page(page: Page, path: str = "/") -> None:
    page.goto(path)
    page.wait_for_load_state()


def test_the_composer_grows_to_eleven_lines_and_shrinks_after_sending(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    empty = height(page)
    message(page).fill("\n".join(f"line {n}" for n in range(30)))
    line = float(message(page).evaluate("(field) => parseFloat(getComputedStyle(field).lineHeight)"))
    assert 5 * line < height(page) <= 11 * line + 1
    assert message(page).evaluate("(field) => field.scrollHeight > field.clientHeight")
    page.keyboard.press("Enter")
    wait_until_idle(page)
    assert height(page) == empty


def test_the_composer_grows_in_browsers_without_field_sizing(visit: Visit, alice: Member) -> None:
    page = visit(alice)

    def without_fitting(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("field-sizing:content", ""))

    page.route("**/chat.*.css", without_fitting)
    page.add_init_script(
        """const supports = CSS.supports;
        CSS.supports = (...asked) => asked[0] !== "field-sizing" && supports.apply(CSS, asked);"""
    )
    open_page(page)
    assert message(page).evaluate("(field) => getComputedStyle(field).fieldSizing") == "fixed"
    empty = height(page)
    message(page).fill("\n".join(f"line {n}" for n in range(30)))
    line = float(message(page).evaluate("(field) => parseFloat(getComputedStyle(field).lineHeight)"))
    assert 5 * line < height(page) <= 11 * line + 1
    page.keyboard.press("Enter")
    wait_until_idle(page)
    assert height(page) == empty


def test_a_draft_survives_a_reload_in_its_own_conversation(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    ask(page, "one")
    wait_until_idle(page)
    conversation = page.url
    message(page).fill("half a thought")
    page.reload()
    expect(message(page)).to_have_value("half a thought")
    open_page(page)
    expect(message(page)).to_have_value("")
    message(page).fill("something new")
    open_page(page, conversation)
    expect(message(page)).to_have_value("half a thought")
    page.keyboard.press("Enter")
    wait_until_idle(page)
    page.reload()
    expect(message(page)).to_have_value("")
    open_page(page)
    expect(message(page)).to_have_value("something new")


def test_two_tabs_have_their_own_drafts_of_a_new_conversation(
    visit: Visit, server: LiveServer, sign_up: SignUp
) -> None:
    page = visit(sign_up(server, "ivan"))
    open_page(page)
    message(page).fill("first")
    page.wait_for_timeout(400)  # until it is stored
    other = page.context.new_page()
    open_page(other)
    other.wait_for_timeout(300)
    expect(message(other)).to_have_value("")
    message(other).fill("second")
    for tab, text in ((page, "first"), (other, "second")):
        tab.reload()
        expect(message(tab)).to_have_value(text)


def test_a_duplicated_tab_has_its_own_copy_of_the_draft(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    message(page).fill("first")
    page.wait_for_timeout(400)  # until it is stored
    with page.context.expect_page() as opened:
        page.evaluate("window.open('/')")  # copies sessionStorage, as a duplicated tab does
    copy = opened.value
    expect(message(copy)).to_have_value("first")
    copy.wait_for_timeout(300)
    copy.reload()
    expect(message(copy)).to_have_value("first")
    message(copy).fill("second")
    for tab, text in ((copy, "second"), (page, "first")):
        tab.reload()
        expect(message(tab)).to_have_value(text)


def test_a_draft_of_a_closed_tab_is_taken_over_by_a_new_one(
    visit: Visit, server: LiveServer, sign_up: SignUp
) -> None:
    page = visit(sign_up(server, "judy"))
    open_page(page)
    message(page).fill("precious")
    page.wait_for_timeout(400)
    other = page.context.new_page()
    page.close()
    open_page(other)
    expect(message(other)).to_have_value("precious")


def test_a_draft_that_could_not_be_sent_survives_a_reload(visit: Visit, alice: Member) -> None:
    page = visit(alice, expect_faults=["500"])
    open_page(page)
    page.route("**/chat/stream?view=html", lambda route: route.fulfill(status=500))
    ask(page, "precious")
    expect(page.locator("#notice")).to_contain_text("500")
    page.reload()
    expect(message(page)).to_have_value("precious")


def test_text_typed_during_the_first_answer_stays_in_its_conversation(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    held: list[Route] = []
    page.route("**/chat/stream?view=html", lambda route: held.append(route))  # noqa: PLW0108
    ask(page, "first")
    message(page).fill("second")
    held[0].continue_()
    wait_until_idle(page)
    page.reload()
    expect(message(page)).to_have_value("second")
    open_page(page)
    expect(message(page)).to_have_value("")


def test_drafts_are_private_and_deleted_on_sign_out(
    visit: Visit, server: LiveServer, sign_up: SignUp
) -> None:
    grace, heidi = sign_up(server, "grace"), sign_up(server, "heidi")
    page = visit(grace)
    open_page(page)
    message(page).fill("a secret")
    page.reload()
    stored = "Object.values(localStorage).join()"
    assert page.evaluate(stored) == "a secret"
    session = next(cookie.value for cookie in heidi.http.cookies.jar if cookie.name == "sessionid")
    page.context.add_cookies([{"name": "sessionid", "value": session or "", "url": server.url}])
    open_page(page)  # the same browser, without a sign-out
    expect(message(page)).to_have_value("")
    assert page.evaluate(stored) == ""
    message(page).fill("heidi's")
    page.reload()
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    assert page.evaluate(stored) == ""


def test_escape_stops_the_answer_and_keeps_the_draft(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("Tell me", [Text("Once upon"), Hold(), Text(" a time")])
    page = visit(alice)
    open_page(page)
    ask(page, "Tell me")
    expect(page.locator("article.live .prose")).to_have_text("Once upon")
    page.keyboard.type("next")
    page.keyboard.press("Escape")
    expect(page.locator(".ending")).to_have_text("You stopped this answer.")
    wait_until_idle(page)
    assert shown_texts(page) == ["Tell me", "Once upon"]
    expect(message(page)).to_have_value("next")
    expect(message(page)).to_be_focused()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()


@pytest.mark.parametrize("kind", ["text/html", "text/plain"])
def test_pasted_text_is_plain(visit: Visit, alice: Member, kind: str) -> None:
    page = visit(alice)
    open_page(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    data = {"text/plain": "bold", kind: "<b>bold</b>"}
    page.evaluate(
        """(data) => navigator.clipboard.write([new ClipboardItem(Object.fromEntries(
            Object.entries(JSON.parse(data)).map(([kind, text]) => [kind, new Blob([text], {type: kind})])
        ))])""",
        json.dumps(data),
    )
    message(page).focus()
    page.keyboard.press("ControlOrMeta+v")
    expect(message(page)).to_have_value(data["text/plain"])
    expect(message(page)).to_have_attribute("dir", "auto")
    expect(message(page)).to_have_attribute("enterkeyhint", "send")
