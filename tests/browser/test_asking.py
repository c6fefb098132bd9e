"""Asking: keys, streamed answers, and drafts that cannot be sent."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import (
    SignUp,
    Visit,
    ask,
    conversation_of,
    shown_texts,
    stored_texts,
    wait_until_idle,
)
from tests.support.gemini import Call, Gemini, Hold, Text, Thought
from tests.support.live import LiveServer, Member


def message(page: Page) -> Any:
    return page.get_by_label("Message", exact=True)


def test_an_answer_streams_into_the_page_and_matches_the_stored_one(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("Tell me", [Text("Once **upon**"), Hold(), Text(" a time")])
    page = visit(alice)
    page.goto("/")
    ask(page, "Tell me")
    live = page.locator("article.live .prose")
    expect(live).to_have_text("Once upon")
    expect(live).to_have_attribute("aria-busy", "true")
    expect(page.locator("article.live h2")).to_have_text("Chat assistant")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_hidden()
    expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}/$"))
    expect(page).to_have_title("… Tell me · Parley")
    expect(page.locator("#conversations [aria-current]")).to_have_text("Tell me")
    expect(page.get_by_role("heading", level=1)).to_have_text("Tell me")
    gemini.release()
    wait_until_idle(page)
    assert shown_texts(page) == ["Tell me", "Once upon a time"]
    assert page.locator("article .prose strong").inner_text() == "upon"
    assert stored_texts(alice, conversation_of(page)) == ["Tell me", "Once **upon** a time"]


def test_the_page_after_an_answer_equals_the_reloaded_page(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on(
        "go",
        [Thought("Hm."), Text("# A\n\nLet me see.\n\n"), Call("calculate", {"expression": "6*7"})],
        [Text("| a |\n|---|\n| 42 |\n\n```python\nx = 42\n```")],
    )
    page = visit(alice)
    page.goto("/")
    for question in ("go", "and again"):
        ask(page, question)
        expect(page.locator("article.assistant")).to_have_count(1 if question == "go" else 2)
        wait_until_idle(page)
    streamed = _normalized_markup(page)
    page.reload()
    assert _normalized_markup(page) == streamed
    assert page.locator("article").count() == 4


def _normalized_markup(page: Page) -> str:
    """Return the page's markup without white space and without the tokens and keys of each response."""
    return str(
        page.evaluate("""() => {
            const body = document.body.cloneNode(true);
            for (const input of body.querySelectorAll("input[type=hidden]")) {
                if (input.name !== "prompt") input.remove();
            }
            const aloud = body.querySelectorAll("#announcer, #log");
            for (const place of aloud) place.replaceChildren();
            for (const element of body.querySelectorAll("*")) {
                const sorted = [...element.attributes].sort((a, b) => (a.name < b.name ? -1 : 1));
                for (const { name } of sorted) element.removeAttribute(name);
                for (const { name, value } of sorted) element.setAttribute(name, value);
            }
            return document.title + body.outerHTML.replace(/\\s+/g, " ").replaceAll("> <", "><");
        }""")
    )


def test_thoughts_and_tools_are_shown_while_they_happen(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on(
        "go",
        [Thought("First "), Thought("I think."), Call("calculate", {"expression": "6*7"})],
        [Text("It is"), Hold(), Text(" 42.")],
    )
    page = visit(alice)
    page.goto("/")
    ask(page, "go")
    live = page.locator("article.live")
    expect(live.locator(".prose")).to_have_text("It is")
    live.get_by_text("Thought").click()
    expect(live.locator(".step-text")).to_have_text("First I think.")
    expect(live.locator(".tool-name")).to_have_text("calculate")
    expect(live.locator(".tool-args")).to_have_text('{\n  "expression": "6*7"\n}')
    expect(live.locator(".tool-outcome")).to_have_text('{\n  "result": 42\n}')
    expect(live.locator(".tool-state")).to_have_text(re.compile(r"^\d\.\d s$"))
    gemini.release()
    wait_until_idle(page)
    assert page.locator("article.assistant details.step").evaluate_all(
        "all => all.map((each) => each.open)"
    ) == [
        True,  # unfolded before
        False,
    ]


def test_enter_sends_and_shift_enter_inserts_a_line_break(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.goto("/")
    expect(message(page)).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("  two")
    expect(message(page)).to_have_value("one\n  two")
    page.keyboard.press("Enter")
    expect(message(page)).to_have_value("")
    expect(message(page)).to_be_focused()
    expect(page.locator("article.assistant")).to_have_count(1)
    assert page.locator(".bubble").text_content() == "one\n  two"
    assert stored_texts(alice, conversation_of(page))[0] == "one\n  two"


def test_enter_that_confirms_an_input_method_does_not_send(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.goto("/")
    message(page).focus()
    keyboard = page.context.new_cdp_session(page)
    keyboard.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    keyboard.send(
        "Input.dispatchKeyEvent",
        {"type": "rawKeyDown", "windowsVirtualKeyCode": 229, "key": "Enter", "code": "Enter"},
    )
    expect(message(page)).to_have_value("にほん")
    expect(page.locator("article")).to_have_count(0)
    keyboard.send("Input.insertText", {"text": "日本"})
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .prose")).to_have_text("You said: 日本")


def test_enter_on_a_phone_inserts_a_line_break_and_the_button_sends(visit: Visit, alice: Member) -> None:
    page = visit(alice, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.goto("/")
    message(page).tap()
    page.keyboard.type("one")
    page.keyboard.press("Enter")
    page.keyboard.type("two")
    expect(message(page)).to_have_value("one\ntwo")
    page.get_by_role("button", name="Send").tap()
    expect(page.locator("article.assistant")).to_have_count(1)
    assert stored_texts(alice, conversation_of(page))[0] == "one\ntwo"


def test_blank_text_is_not_sent_and_repeated_enter_sends_once(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("once", [Text("a"), Hold(), Text("b")])
    page = visit(alice)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    page.goto("/")
    ask(page, "  ")
    ask(page, "\n")
    assert asked == []
    message(page).fill("once")
    for _ in range(3):
        page.keyboard.press("Enter")
    expect(page.locator("article.live .prose")).to_have_text("a")
    gemini.release()
    wait_until_idle(page)
    assert [url.rpartition("/")[2] for url in asked] == ["stream?view=html"]
    assert stored_texts(alice, conversation_of(page)) == ["once", "ab"]


def test_an_ask_is_one_request(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("one", [Text("a"), Hold(), Text("b")])
    page = visit(alice)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url.removeprefix(alice.url)))
    page.goto("/")
    ask(page, "one")
    expect(page.locator("article.live .prose")).to_have_text("a")
    gemini.release()
    wait_until_idle(page)
    assert shown_texts(page) == ["one", "ab"]
    streams = [path for path in requests if "stream" in path or "/events" in path]
    assert streams == ["/chat/stream?view=html"]


def test_a_question_is_shown_before_the_server_has_it(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.goto("/")
    held: list[Route] = []
    page.route("**/chat/stream?view=html", lambda route: held.append(route))  # noqa: PLW0108  (Playwright marks it)
    ask(page, "Hello <b>there</b>")
    expect(page.locator(".bubble")).to_have_text("Hello <b>there</b>")
    held[0].continue_()
    wait_until_idle(page)
    expect(page.locator("article")).to_have_count(2)


def test_a_question_retried_after_network_errors_is_stored_once(visit: Visit, alice: Member) -> None:
    page = visit(alice, expect_faults=["ERR_FAILED", "ERR_CONNECTION"])
    page.goto("/")
    keys: list[str] = []

    def lose_the_response(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 2:
            route.fetch()  # the server gets it, but the page gets no response
        if len(keys) < 3:
            route.abort()
        else:
            route.continue_()

    page.route("**/chat/stream?view=html", lose_the_response)
    for _ in range(2):
        ask(page, "Hello")
        expect(page.locator("#notice")).to_contain_text("cannot be reached")
        expect(message(page)).to_have_value("Hello")
        expect(page.locator("article")).to_have_count(0)
        page.locator("#notice").evaluate("(notice) => notice.replaceChildren()")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .prose")).to_have_text("You said: Hello")
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert stored_texts(alice, conversation_of(page)) == ["Hello", "You said: Hello"]


def test_a_refusal_shows_the_servers_message_and_keeps_the_draft(visit: Visit, alice: Member) -> None:
    page = visit(alice, expect_faults=["422"])
    page.goto("/")
    ask(page, "x" * 140_000)
    expect(page.locator("#notice")).to_have_text("The message is longer than 128 KiB.")
    assert len(message(page).input_value()) == 140_000
    expect(page.locator("article")).to_have_count(0)
    ask(page, "shorter")
    expect(page.locator("article.assistant .prose")).to_have_text("You said: shorter")
    expect(page.locator("#notice")).to_be_empty()


@pytest.mark.parametrize("status", [429, 503])
def test_an_exceeded_limit_shows_its_message_and_keeps_the_draft(
    visit: Visit, alice: Member, status: int
) -> None:
    page = visit(alice, expect_faults=[str(status)])
    page.goto("/")
    body = '{"error": {"code": "too_many", "detail": "At most 5 answers can be written at once."}}'
    page.route(
        "**/chat/stream?view=html",
        lambda route: route.fulfill(status=status, content_type="application/json", body=body),
        times=1,
    )
    ask(page, "Hello")
    expect(page.locator("#notice")).to_have_text("At most 5 answers can be written at once.")
    expect(message(page)).to_have_value("Hello")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant")).to_have_count(1)


def test_a_conflict_shows_the_other_tabs_answer_and_keeps_the_draft(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("two", [Text("second"), Hold(), Text(" answer")])
    here = visit(alice, expect_faults=["409"])
    here.route_web_socket("**/ws/*", lambda _socket: None)  # it receives nothing
    here.goto("/")
    ask(here, "one")
    expect(here.locator("article.assistant")).to_have_count(1)
    wait_until_idle(here)
    there = visit(alice)
    there.goto(here.url)
    ask(there, "two")
    expect(there.locator("article.live .prose")).to_have_text("second")
    ask(here, "three")
    expect(here.locator("#notice")).to_have_text("This conversation is already answering.")
    expect(here.locator("article.live .prose")).to_have_text("second")
    expect(message(here)).to_have_value("three")
    gemini.release()
    wait_until_idle(here)
    assert shown_texts(here) == ["one", "You said: one", "two", "second answer"]


def test_a_signed_out_member_can_sign_in_again_and_keeps_the_draft(
    visit: Visit, server: LiveServer, sign_up: SignUp
) -> None:
    page = visit(sign_up(server, "carol"), expect_faults=["401", "403"])
    page.goto("/")
    page.evaluate("fetch('/accounts/logout/', {method: 'POST', body: new FormData(document.forms[0])})")
    page.context.clear_cookies(name="sessionid")
    ask(page, "Hello")
    expect(page.locator("#notice")).to_contain_text("You are signed out.")
    expect(message(page)).to_have_value("Hello")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Sign in again").click()
    other = opened.value
    other.get_by_label("User name or e-mail address").fill("carol")
    other.get_by_label("Password").fill("correct horse battery")
    other.get_by_role("button", name="Sign in").click()
    expect(other.get_by_label("Message", exact=True)).to_be_visible()
    other.close()
    page.get_by_role("button", name="Send").click()  # with the previous CSRF token
    expect(page.locator("article.assistant .prose")).to_have_text("You said: Hello")


def test_back_shows_the_previous_page(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.goto("/")
    ask(page, "Hello")
    expect(page.locator("article.assistant")).to_have_count(1)
    wait_until_idle(page)
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("What would you like to know?")
    expect(page.locator("article")).to_have_count(0)
    page.go_forward()
    expect(page.locator("article")).to_have_count(2)


def test_forward_while_a_page_loads_is_not_lost(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.goto("/")
    ask(page, "Hello")
    wait_until_idle(page)
    page.route("**/main.*.js", lambda route: None)  # delayed
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("What would you like to know?")
    page.go_forward(wait_until="commit")  # no script has loaded to handle it
    page.unroute("**/main.*.js")  # the script loads now
    expect(page.locator("article")).to_have_count(2)
