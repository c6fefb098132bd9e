"""The first question: sent by Enter before the scripts load, and shown in one frame."""

from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Visit, ask, conversation_of, stored_texts, wait_until_idle
from tests.support.live import Member

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def message(page: Page) -> Any:
    return page.get_by_label("Message", exact=True)


# --- shown in one frame -----------------------------------------------------------------------------

# Records for each frame whether the question and the welcome are visible, and the composer's text.
RECORD = """() => {
    const [query, welcome] = ["query", "welcome"].map((id) => document.getElementById(id));
    window.frames_ = [];
    const record = () => {
        const bubble = document.querySelector("article.user .bubble") !== null;
        frames_.push({ at: performance.now(), bubble, welcome: Boolean(welcome?.checkVisibility()),
                       text: query.value });
        requestAnimationFrame(record);
    };
    requestAnimationFrame(record);
    const press = () => (window.pressed ??= performance.now());
    for (const type of ["keydown", "pointerdown"]) addEventListener(type, press, { capture: true });
}"""
AFTER = "() => frames_.filter((frame) => frame.at > pressed)"


def hold_questions(page: Page) -> list[Route]:
    """Hold back the requests that send questions; return the list to which they are added."""
    held: list[Route] = []
    page.route("**/chat/stream?view=html", lambda route: held.append(route))  # noqa: PLW0108
    return held


def open_page(visit: Visit, alice: Member, **options: Any) -> Page:
    page = visit(alice, **options)
    page.goto("/")
    page.wait_for_load_state()
    return page


@pytest.mark.parametrize("by", ["Enter", "the button"])
def test_the_welcome_disappears_in_the_frame_that_shows_the_question(
    visit: Visit, alice: Member, by: str
) -> None:
    page = open_page(visit, alice)
    held = hold_questions(page)
    message(page).fill("Hello")
    page.evaluate(RECORD)
    if by == "Enter":
        page.keyboard.press("Enter")
    else:
        page.get_by_role("button", name="Send").click()
    expect(page.locator(".bubble")).to_have_text("Hello")
    page.wait_for_function(f"() => ({AFTER})().filter((frame) => frame.bubble).length > 2")
    with_bubble = [frame for frame in page.evaluate(AFTER) if frame["bubble"]]
    assert {(frame["welcome"], frame["text"]) for frame in with_bubble} == {(False, "")}
    held[0].continue_()
    wait_until_idle(page)


def test_the_first_frame_after_enter_shows_the_question(visit: Visit, alice: Member) -> None:
    page = open_page(visit, alice)
    held = hold_questions(page)
    message(page).fill("Hello")
    page.evaluate(RECORD)
    page.keyboard.press("Enter")
    page.wait_for_function(f"() => ({AFTER})().length > 0")
    assert page.evaluate(AFTER)[0] | {"at": 0} == {"at": 0, "bubble": True, "welcome": False, "text": ""}
    held[0].continue_()
    wait_until_idle(page)


def test_a_later_question_moves_from_the_composer_to_the_page(visit: Visit, alice: Member) -> None:
    page = open_page(visit, alice)
    ask(page, "one")
    wait_until_idle(page)
    held = hold_questions(page)
    message(page).fill("two")
    page.keyboard.press("Enter")
    expect(page.locator(".bubble").last).to_have_text("two")
    expect(message(page)).to_have_value("")
    held[0].continue_()
    wait_until_idle(page)
    assert stored_texts(alice, conversation_of(page)) == ["one", "You said: one", "two", "You said: two"]


@pytest.mark.parametrize("fault", ["refused", "broken", "unreachable", "offline"])
def test_a_failed_question_restores_the_welcome_and_the_text(visit: Visit, alice: Member, fault: str) -> None:
    page = open_page(visit, alice, expect_faults=["429", "500", "ERR_FAILED", "ERR_INTERNET"])
    answers: dict[str, dict[str, Any]] = {
        "refused": {"status": 429, "json": {"error": {"code": "too_many", "detail": "Too many."}}},
        "broken": {"status": 500},
    }
    if fault == "offline":
        page.context.set_offline(True)
    elif fault == "unreachable":
        page.route("**/chat/stream?view=html", lambda route: route.abort())
    else:
        page.route("**/chat/stream?view=html", lambda route: route.fulfill(**answers[fault]))
    message(page).fill("precious\n  words")
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).not_to_be_empty()
    expect(message(page)).to_have_value("precious\n  words")
    expect(message(page)).to_be_focused()
    expect(page.get_by_role("heading", level=1)).to_have_text("What would you like to know?")
    expect(page.locator(".suggestion").first).to_be_visible()
    expect(page.locator("article")).to_have_count(0)


def test_text_typed_while_a_question_fails_is_kept_below_it(visit: Visit, alice: Member) -> None:
    page = open_page(visit, alice, expect_faults=["500"])
    held = hold_questions(page)
    ask(page, "first")
    expect(message(page)).to_have_value("")
    page.keyboard.type("second")
    held[0].fulfill(status=500)
    expect(message(page)).to_have_value("first\nsecond")
    page.reload()
    expect(message(page)).to_have_value("first\nsecond")


def test_a_pending_question_is_kept_across_a_reload(visit: Visit, alice: Member) -> None:
    page = open_page(visit, alice)
    hold_questions(page)
    ask(page, "first")
    page.keyboard.type("second")
    page.reload()
    expect(message(page)).to_have_value("first\nsecond")


# --- Enter before the scripts load --------------------------------------------------------------------


class Scripts:
    """The page's script files, held back until ``release``."""

    def __init__(self, page: Page) -> None:
        self._held: list[Route] | None = []
        page.route("**/*.js", self._handle)

    def _handle(self, route: Route) -> None:
        if self._held is None:
            route.continue_()
        else:
            self._held.append(route)

    def release(self) -> None:
        held, self._held = self._held or [], None
        for route in held:
            route.continue_()


def open_without_scripts(visit: Visit, alice: Member, **options: Any) -> tuple[Page, Scripts, list[str]]:
    """Open a page without scripts and focus its composer; return it, its scripts and the URLs it posts to."""
    page = visit(alice, **options)
    scripts = Scripts(page)
    posted: list[str] = []
    page.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
    page.goto("/", wait_until="commit")
    message(page).focus()
    return page, scripts, posted


def test_enter_sends_before_the_scripts_load(visit: Visit, alice: Member) -> None:
    page, scripts, _ = open_without_scripts(visit, alice)
    page.keyboard.type("Hello")
    page.keyboard.press("Enter")
    expect(page.locator(".bubble")).to_have_text("Hello")
    scripts.release()
    expect(page.locator("article.assistant .prose")).to_have_text("You said: Hello")
    expect(message(page)).to_have_value("")
    assert stored_texts(alice, conversation_of(page)) == ["Hello", "You said: Hello"]


def test_enter_sends_before_the_style_sheets_load(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    held: list[Route] = []
    page.route("**/*.css", lambda route: held.append(route))  # noqa: PLW0108
    page.goto("/", wait_until="commit")
    message(page).focus()
    page.keyboard.type("Hello")
    with page.expect_request(lambda request: request.method == "POST") as posted:
        page.keyboard.press("Enter")
    assert posted.value.url == f"{alice.url}/chat/"
    assert "query=Hello" in (posted.value.post_data or "")


def test_shift_enter_inserts_a_line_break_before_the_scripts_load(visit: Visit, alice: Member) -> None:
    page, scripts, posted = open_without_scripts(visit, alice)
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    expect(message(page)).to_have_value("one\ntwo")
    scripts.release()
    assert posted == []


def test_enter_inserts_a_line_break_on_a_phone_before_the_scripts_load(visit: Visit, alice: Member) -> None:
    page, scripts, posted = open_without_scripts(visit, alice, **PHONE)
    page.keyboard.type("one")
    page.keyboard.press("Enter")
    page.keyboard.type("two")
    expect(message(page)).to_have_value("one\ntwo")
    scripts.release()
    assert posted == []


def test_enter_of_an_input_method_does_not_send_before_the_scripts_load(visit: Visit, alice: Member) -> None:
    page, scripts, posted = open_without_scripts(visit, alice)
    keyboard = page.context.new_cdp_session(page)
    keyboard.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    keyboard.send(
        "Input.dispatchKeyEvent",
        {"type": "rawKeyDown", "windowsVirtualKeyCode": 229, "key": "Enter", "code": "Enter"},
    )
    expect(message(page)).to_have_value("にほん")
    scripts.release()
    assert posted == []


@pytest.mark.parametrize("text", ["", "   ", "\n \n"])
def test_blank_text_is_not_sent_before_the_scripts_load(visit: Visit, alice: Member, text: str) -> None:
    page, scripts, posted = open_without_scripts(visit, alice)
    message(page).fill(text)
    page.keyboard.press("Enter")
    expect(message(page)).to_have_value(text)
    scripts.release()
    page.wait_for_load_state()
    assert posted == []


def test_a_second_enter_does_not_send_again_before_the_scripts_load(visit: Visit, alice: Member) -> None:
    page, scripts, posted = open_without_scripts(visit, alice)
    page.keyboard.type("once")
    for _ in range(3):
        page.keyboard.press("Enter")
    expect(page.locator(".bubble")).to_have_text("once")
    scripts.release()
    expect(page.locator("article.assistant .prose")).to_have_text("You said: once")
    assert [url.removeprefix(alice.url) for url in posted] == ["/chat/"]
    assert stored_texts(alice, conversation_of(page)) == ["once", "You said: once"]


def test_the_button_after_enter_does_not_send_again_before_the_scripts_load(
    visit: Visit, alice: Member
) -> None:
    page, scripts, posted = open_without_scripts(visit, alice)
    page.keyboard.type("once")
    # in one task, so that no response can arrive in between
    page.evaluate(
        """() => {
            const key = new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true });
            document.getElementById("query").dispatchEvent(key);
            document.getElementById("send").click();
        }"""
    )
    expect(page.locator(".bubble")).to_have_text("once")
    scripts.release()
    expect(page.locator("article.assistant .prose")).to_have_text("You said: once")
    assert [url.removeprefix(alice.url) for url in posted] == ["/chat/"]


def test_enter_sends_on_a_slow_network_as_soon_as_the_composer_exists(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    slow = {"offline": False, "latency": 400, "downloadThroughput": 200_000, "uploadThroughput": 200_000}
    network.send("Network.emulateNetworkConditions", slow)
    page.goto("/", wait_until="commit")
    message(page).focus()
    page.keyboard.type("Hello")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .prose")).to_have_text("You said: Hello")
    assert stored_texts(alice, conversation_of(page)) == ["Hello", "You said: Hello"]
