"""Several tabs: questions, titles and deletions in one tab appear in the others without a reload."""

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, WebSocket, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, shown_texts, wait_until_idle
from tests.browser.network import Network
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer, Member

STORY: list[Text | Hold] = [Text("Once "), Hold(), Text("upon a time")]


@pytest.fixture
def tina(server: LiveServer, sign_up: SignUp, request: pytest.FixtureRequest) -> Member:
    """Return a member without conversations."""
    return sign_up(server, f"tina{abs(hash(request.node.name)) % 10**8}")


def open_tab(page: Page, path: str) -> Page:
    """Open another tab of the same browser; return it once its socket is open."""
    tab = page.context.new_page()
    with tab.expect_websocket():
        tab.goto(path)
    return tab


def listed(page: Page) -> Locator:
    return page.locator("#conversations a")


def start_answer(page: Page, gemini: Gemini, question: str = "Tell me") -> str:
    """Ask a question whose answer pauses after "Once "; return the conversation's id."""
    gemini.on(question, STORY)
    page.goto("/")
    ask(page, question)
    expect(page.locator("article.live .prose")).to_have_text("Once")
    return conversation_of(page)


def change(member: Member, conversation: str, **fields: Any) -> None:
    answer = member.http.patch(f"/api/v1/conversations/{conversation}", json=fields, headers=member.headers())
    assert answer.status_code == 200


def test_a_new_conversation_appears_in_the_other_tabs_list_with_its_mark(
    visit: Visit, tina: Member, gemini: Gemini
) -> None:
    page = visit(tina)
    page.goto("/")
    other = open_tab(page, "/")
    expect(listed(other)).to_have_count(0)
    start_answer(page, gemini)
    for tab in (page, other):
        expect(listed(tab)).to_have_text(["Tell me"], timeout=2000)
        expect(tab.locator("#conversations .answering-mark")).to_have_count(1, timeout=2000)
    expect(other.locator("#greeting")).to_be_visible()  # its own page does not change
    gemini.release()
    for tab in (page, other):
        expect(tab.locator("#conversations .answering-mark")).to_have_count(0)


def test_a_second_tab_shows_a_run_that_the_first_one_started(
    visit: Visit, tina: Member, gemini: Gemini
) -> None:
    gemini.on("one", [Text("first answer")])
    page = visit(tina)
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    second = open_tab(page, page.url)
    expect(second.locator("article")).to_have_count(2)
    gemini.on("two", STORY)
    ask(page, "two")
    expect(second.locator("article.live .prose")).to_have_text("Once")
    expect(second.locator("body")).to_have_attribute("data-state", "answering")
    gemini.release()
    for tab in (page, second):
        wait_until_idle(tab)
        assert shown_texts(tab) == ["one", "first answer", "two", "Once upon a time"]
    assert gemini.calls_for("two") == 1
    ask(second, "three")  # the reverse direction
    wait_until_idle(second)
    expect(page.locator("article")).to_have_count(6)
    wait_until_idle(page)
    assert shown_texts(page) == shown_texts(second)


def test_text_typed_in_the_second_tab_stays(visit: Visit, tina: Member, gemini: Gemini) -> None:
    page = visit(tina)
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    second = open_tab(page, page.url)
    second.get_by_label("Message", exact=True).fill("half a thou")
    ask(page, "two")
    expect(second.locator("article")).to_have_count(4)
    wait_until_idle(second)
    expect(second.get_by_label("Message", exact=True)).to_have_value("half a thou")


def test_a_stop_reaches_another_browser(visit: Visit, tina: Member, gemini: Gemini) -> None:
    page = visit(tina)
    conversation = start_answer(page, gemini)
    elsewhere = visit(tina)
    elsewhere.goto(f"/chat/{conversation}/")
    expect(elsewhere.locator("article.live .prose")).to_have_text("Once")
    page.get_by_role("button", name="Stop").click()
    wait_until_idle(elsewhere)
    expect(elsewhere.locator(".ending")).to_have_text("You stopped this answer.")


def test_a_new_title_reaches_every_tab(visit: Visit, tina: Member, gemini: Gemini) -> None:
    page = visit(tina)
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    conversation = conversation_of(page)
    other = open_tab(page, "/")
    expect(listed(other)).to_have_text(["one"])
    hostile = "<img src=x onerror=alert(1)> & co"
    change(tina, conversation, title=hostile)
    for tab in (page, other):
        expect(listed(tab)).to_have_text([hostile], timeout=2000)
    expect(page.locator("#pane-title .conversation-title")).to_have_text(hostile)
    expect(page).to_have_title(f"{hostile} · Parley")
    expect(other).to_have_title("New conversation · Parley")
    expect(page.locator("#conversations [aria-current=page]")).to_have_count(1)


def test_the_list_keeps_its_current_conversation_when_another_changes(
    visit: Visit, tina: Member, gemini: Gemini
) -> None:
    page = visit(tina)
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    other = open_tab(page, "/")
    ask(other, "two")
    wait_until_idle(other)
    expect(listed(page)).to_have_text(["two", "one"])
    expect(page.locator("#conversations [aria-current=page]")).to_have_text("one")
    assert shown_texts(page)[0] == "one"


def test_a_new_title_does_not_disturb_a_streaming_answer(visit: Visit, tina: Member, gemini: Gemini) -> None:
    page = visit(tina)
    conversation = start_answer(page, gemini)
    change(tina, conversation, title="Better")
    expect(page.locator("#pane-title .conversation-title")).to_have_text("Better", timeout=2000)
    expect(page.locator("article.live .prose")).to_have_text("Once")
    gemini.release()
    wait_until_idle(page)
    assert shown_texts(page) == ["Tell me", "Once upon a time"]


def test_a_deleted_conversation_disappears_from_every_tab(visit: Visit, tina: Member, gemini: Gemini) -> None:
    page = visit(tina, expect_faults=["404"])
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    other = open_tab(page, "/")
    expect(listed(other)).to_have_count(1)
    path = f"/api/v1/conversations/{conversation_of(page)}"
    assert tina.http.delete(path, headers=tina.headers()).status_code == 204
    for tab in (page, other):
        expect(listed(tab)).to_have_count(0, timeout=2000)
    expect(page.locator("#notice")).to_have_text("This conversation is no longer there.")
    expect(other.locator("#notice")).to_be_empty()


def test_a_tab_catches_up_after_a_lost_connection(
    visit: Visit, tina: Member, gemini: Gemini, server: LiveServer
) -> None:
    network = Network(server.url)
    try:
        page = visit(tina, url=network.url, expect_faults=["ERR_", "WebSocket"])
        page.goto("/")
        ask(page, "one")
        wait_until_idle(page)
        conversation = conversation_of(page)
        network.cut()
        change(tina, conversation, title="Better")
        page.wait_for_timeout(1000)
        expect(listed(page)).to_have_text(["one"])
        network.restore()
        expect(listed(page)).to_have_text(["Better"])
        expect(page.locator("#pane-title .conversation-title")).to_have_text("Better")
    finally:
        network.close()


def test_a_hidden_tab_closes_its_socket_and_catches_up_when_visible(
    visit: Visit, tina: Member, gemini: Gemini
) -> None:
    page = visit(tina)
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    conversation = conversation_of(page)
    page.clock.install()
    sockets: list[WebSocket] = []

    def opened(socket: WebSocket) -> None:
        sockets.append(socket)

    page.on("websocket", opened)
    with page.expect_websocket():
        page.reload()
    page.wait_for_load_state()
    set_hidden(page, hidden=True)
    (first,) = sockets
    with first.expect_event("close"):
        page.clock.fast_forward(61_000)
    change(tina, conversation, title="Better")
    page.wait_for_timeout(1000)
    expect(listed(page)).to_have_text(["one"])
    set_hidden(page, hidden=False)
    page.clock.run_for(1000)
    expect(listed(page)).to_have_text(["Better"])
    assert len(sockets) == 2


def set_hidden(page: Page, *, hidden: bool) -> None:
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_a_sign_out_is_shown_in_the_other_tab(visit: Visit, tina: Member, gemini: Gemini) -> None:
    page = visit(tina)
    page.goto("/")
    other = open_tab(page, "/")
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Sign out").click()
    expect(other.locator("#notice")).to_contain_text("You are signed out.")


def test_a_sign_out_in_one_tab_ends_the_answer_in_the_other(
    visit: Visit, tina: Member, gemini: Gemini
) -> None:
    page = visit(tina)
    start_answer(page, gemini)
    other = open_tab(page, "/")
    other.get_by_role("button", name="Settings").click()
    other.get_by_role("button", name="Sign out").click()
    expect(page.locator("#notice")).to_contain_text("You are signed out.")
    gemini.release()
    expect(page.locator("body")).to_have_attribute("data-state", "idle")
    expect(page.locator("article.live .prose")).to_have_text("Once")


def test_the_page_works_without_the_socket(visit: Visit, tina: Member, gemini: Gemini) -> None:
    page = visit(tina)
    page.add_init_script(
        "window.WebSocket = class { constructor() { setTimeout(() => this.onclose({code: 1006}), 5); } };"
    )
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    expect(listed(page)).to_have_text(["one"])
    ask(page, "two")
    wait_until_idle(page)
    assert shown_texts(page)[2] == "two"
