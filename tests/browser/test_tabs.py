"""Other tabs follow: what is said, named or deleted in one of them appears in the others by itself."""

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, WebSocket, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, said, settled
from tests.browser.wire import Wire
from tests.gemini import Gemini, Hold, Text
from tests.live import LiveServer, Member

STORY: list[Text | Hold] = [Text("Once "), Hold(), Text("upon a time")]


@pytest.fixture
def tina(server: LiveServer, sign_up: SignUp, request: pytest.FixtureRequest) -> Member:
    """A member with no conversations."""
    return sign_up(server, f"tina{abs(hash(request.node.name)) % 10**8}")


def open_tab(page: Page, path: str) -> Page:
    """Another tab of the same browser, once it listens."""
    tab = page.context.new_page()
    with tab.expect_websocket():
        tab.goto(path)
    return tab


def listed(page: Page) -> Locator:
    return page.locator("#conversations a")


def begin(page: Page, gemini: Gemini, question: str = "Tell me") -> str:
    """Ask; the answer holds after "Once "."""
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
    begin(page, gemini)
    for tab in (page, other):
        expect(listed(tab)).to_have_text(["Tell me"], timeout=2000)
        expect(tab.locator("#conversations .answering")).to_have_count(1, timeout=2000)
    expect(other.locator("#greeting")).to_be_visible()  # what it shows is its own affair
    gemini.release()
    for tab in (page, other):
        expect(tab.locator("#conversations .answering")).to_have_count(0)


def test_a_second_tab_shows_a_run_that_the_first_one_began(
    visit: Visit, tina: Member, gemini: Gemini
) -> None:
    gemini.on("one", [Text("first answer")])
    page = visit(tina)
    page.goto("/")
    ask(page, "one")
    settled(page)
    second = open_tab(page, page.url)
    expect(second.locator("article")).to_have_count(2)
    gemini.on("two", STORY)
    ask(page, "two")
    expect(second.locator("article.live .prose")).to_have_text("Once")
    expect(second.locator("body")).to_have_attribute("data-state", "answering")
    gemini.release()
    for tab in (page, second):
        settled(tab)
        assert said(tab) == ["one", "first answer", "two", "Once upon a time"]
    assert gemini.calls_for("two") == 1
    ask(second, "three")  # and the other way round
    settled(second)
    expect(page.locator("article")).to_have_count(6)
    settled(page)
    assert said(page) == said(second)


def test_what_is_typed_in_the_second_tab_stays(visit: Visit, tina: Member, gemini: Gemini) -> None:
    page = visit(tina)
    page.goto("/")
    ask(page, "one")
    settled(page)
    second = open_tab(page, page.url)
    second.get_by_label("Message", exact=True).fill("half a thou")
    ask(page, "two")
    expect(second.locator("article")).to_have_count(4)
    settled(second)
    expect(second.get_by_label("Message", exact=True)).to_have_value("half a thou")


def test_a_stop_in_another_browser_is_seen(visit: Visit, tina: Member, gemini: Gemini) -> None:
    page = visit(tina)
    conversation = begin(page, gemini)
    elsewhere = visit(tina)
    elsewhere.goto(f"/chat/{conversation}/")
    expect(elsewhere.locator("article.live .prose")).to_have_text("Once")
    page.get_by_role("button", name="Stop").click()
    settled(elsewhere)
    expect(elsewhere.locator(".ending")).to_have_text("You stopped this answer.")


def test_a_new_title_is_seen_everywhere(visit: Visit, tina: Member, gemini: Gemini) -> None:
    page = visit(tina)
    page.goto("/")
    ask(page, "one")
    settled(page)
    conversation = conversation_of(page)
    other = open_tab(page, "/")
    expect(listed(other)).to_have_text(["one"])
    hostile = "<img src=x onerror=alert(1)> & co"
    change(tina, conversation, title=hostile)
    for tab in (page, other):
        expect(listed(tab)).to_have_text([hostile], timeout=2000)
    expect(page.locator("#pane-title .title")).to_have_text(hostile)
    expect(page).to_have_title(f"{hostile} · Parley")
    expect(other).to_have_title("New conversation · Parley")
    expect(page.locator("#conversations [aria-current=page]")).to_have_count(1)


def test_the_list_keeps_its_place_when_another_conversation_changes(
    visit: Visit, tina: Member, gemini: Gemini
) -> None:
    page = visit(tina)
    page.goto("/")
    ask(page, "one")
    settled(page)
    other = open_tab(page, "/")
    ask(other, "two")
    settled(other)
    expect(listed(page)).to_have_text(["two", "one"])
    expect(page.locator("#conversations [aria-current=page]")).to_have_text("one")
    assert said(page)[0] == "one"


def test_a_title_during_an_answer_leaves_the_answer_alone(visit: Visit, tina: Member, gemini: Gemini) -> None:
    page = visit(tina)
    conversation = begin(page, gemini)
    change(tina, conversation, title="Better")
    expect(page.locator("#pane-title .title")).to_have_text("Better", timeout=2000)
    expect(page.locator("article.live .prose")).to_have_text("Once")
    gemini.release()
    settled(page)
    assert said(page) == ["Tell me", "Once upon a time"]


def test_a_conversation_that_is_deleted_vanishes(visit: Visit, tina: Member, gemini: Gemini) -> None:
    page = visit(tina, expect_faults=["404"])
    page.goto("/")
    ask(page, "one")
    settled(page)
    other = open_tab(page, "/")
    expect(listed(other)).to_have_count(1)
    path = f"/api/v1/conversations/{conversation_of(page)}"
    assert tina.http.delete(path, headers=tina.headers()).status_code == 204
    for tab in (page, other):
        expect(listed(tab)).to_have_count(0, timeout=2000)
    expect(page.locator("#notice")).to_have_text("This conversation is no longer there.")
    expect(other.locator("#notice")).to_be_empty()


def test_after_a_lost_connection_the_tab_is_told_what_it_missed(
    visit: Visit, tina: Member, gemini: Gemini, server: LiveServer
) -> None:
    wire = Wire(server.url)
    try:
        page = visit(tina, url=wire.url, expect_faults=["ERR_", "WebSocket"])
        page.goto("/")
        ask(page, "one")
        settled(page)
        conversation = conversation_of(page)
        wire.cut()
        change(tina, conversation, title="Better")
        page.wait_for_timeout(1000)
        expect(listed(page)).to_have_text(["one"])
        wire.mend()
        expect(listed(page)).to_have_text(["Better"])
        expect(page.locator("#pane-title .title")).to_have_text("Better")
    finally:
        wire.close()


def test_a_hidden_tab_gives_its_socket_back_and_hears_later_what_it_missed(
    visit: Visit, tina: Member, gemini: Gemini
) -> None:
    page = visit(tina)
    page.goto("/")
    ask(page, "one")
    settled(page)
    conversation = conversation_of(page)
    page.clock.install()
    sockets: list[WebSocket] = []

    def opened(socket: WebSocket) -> None:
        sockets.append(socket)

    page.on("websocket", opened)
    page.reload()
    page.wait_for_function("document.readyState === 'complete'")
    page.wait_for_timeout(300)
    show(page, hidden=True)
    page.clock.fast_forward(61_000)
    (first,) = sockets
    while not first.is_closed():
        page.wait_for_timeout(50)
    change(tina, conversation, title="Better")
    page.wait_for_timeout(1000)
    expect(listed(page)).to_have_text(["one"])
    show(page, hidden=False)
    page.clock.run_for(1000)
    expect(listed(page)).to_have_text(["Better"])
    assert len(sockets) == 2


def show(page: Page, *, hidden: bool) -> None:
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_a_tab_is_told_that_its_member_signed_out_in_another_one(
    visit: Visit, tina: Member, gemini: Gemini
) -> None:
    page = visit(tina)
    page.goto("/")
    other = open_tab(page, "/")
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Sign out").click()
    expect(other.locator("#notice")).to_contain_text("You are signed out.")


def test_the_page_works_without_the_socket(visit: Visit, tina: Member, gemini: Gemini) -> None:
    page = visit(tina)
    page.add_init_script(
        "window.WebSocket = class { constructor() { setTimeout(() => this.onclose({code: 1006}), 5); } };"
    )
    page.goto("/")
    ask(page, "one")
    settled(page)
    expect(listed(page)).to_have_text(["one"])
    ask(page, "two")
    settled(page)
    assert said(page)[2] == "two"
