"""The list of conversations and the menu of its entries."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from chat.pages.time_zone import COOKIE
from tests.browser.conftest import SignUp, Visit, ask, conversation_of, shown_texts, wait_until_idle
from tests.browser.network import Network
from tests.browser.seeds import many_conversations
from tests.browser.test_tabs import change
from tests.support.gemini import Gemini, Text
from tests.support.live import LiveServer, Member

SOON = 2000  # milliseconds in which other pages show a change


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"nora{abs(hash(request.node.name)) % 10**8}"


@pytest.fixture
def nora(server: LiveServer, sign_up: SignUp, name: str) -> Member:
    """Return a member without conversations."""
    return sign_up(server, name)


@pytest.fixture(scope="module")
def bob(server: LiveServer, sign_up: SignUp) -> Member:
    return sign_up(server, "bob-of-the-list")


def entry(page: Page, title: str) -> Locator:
    return page.locator(".conversation-entry", has_text=title)


def titles(page: Page) -> Locator:
    return page.locator("#conversations a")


def choose(page: Page, title: str, item: str) -> None:
    """Choose an item of the menu of the conversation with this title."""
    entry(page, title).hover()
    entry(page, title).locator(".entry-button").click()
    page.get_by_role("menuitem", name=item, exact=True).click()


def ask_all(page: Page, *questions: str) -> None:
    """Begin a conversation with each question."""
    for question in questions:
        page.goto("/")
        ask(page, question)
        page.wait_for_url("**/chat/*/")
        wait_until_idle(page)


def start_rename(page: Page) -> None:
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    page.locator(".conversation-entry .entry-button").click()
    page.get_by_role("menuitem", name="Rename").click()


def test_enter_saves_a_new_title(visit: Visit, server: LiveServer, sign_up: SignUp) -> None:
    page = visit(sign_up(server, "rita"))
    start_rename(page)
    page.keyboard.type("Better")
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("Renamed.")
    page.reload()
    expect(page.locator("#conversations a")).to_have_text(["Better"])


def test_escape_keeps_the_title(visit: Visit, server: LiveServer, sign_up: SignUp) -> None:
    page = visit(sign_up(server, "rosa"))
    start_rename(page)
    page.keyboard.type("Better")
    page.keyboard.press("Escape")
    expect(page.locator("#conversations a")).to_have_text(["one"])
    expect(page.locator(".conversation-entry .entry-button")).to_be_focused()


def test_a_title_needs_a_letter(visit: Visit, nora: Member) -> None:
    page = visit(nora)
    start_rename(page)
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    field = page.get_by_label("Title")
    expect(field).to_be_focused()
    assert field.evaluate("field => field.validationMessage") != ""


def test_a_pinned_conversation_comes_first(visit: Visit, nora: Member) -> None:
    page = visit(nora)
    ask_all(page, "one", "two")
    choose(page, "one", "Pin")
    expect(page.locator(".conversation-group")).to_have_text(["Pinned", "Today"])
    expect(titles(page)).to_have_text(["one", "two"])
    page.reload()
    expect(titles(page)).to_have_text(["one", "two"])


def test_an_archived_conversation_leaves_the_list_and_can_come_back(visit: Visit, nora: Member) -> None:
    page = visit(nora)
    ask_all(page, "one", "two")
    choose(page, "one", "Archive")
    expect(titles(page)).to_have_text(["two"])
    page.get_by_role("link", name="Archived").click()
    expect(titles(page)).to_have_text(["one"])
    choose(page, "one", "Unarchive")
    page.get_by_role("link", name="All conversations").click()
    expect(titles(page)).to_have_text(["two", "one"])


def test_a_conversation_that_is_not_open_can_be_deleted(visit: Visit, nora: Member) -> None:
    page = visit(nora)
    ask_all(page, "one", "two")
    address = page.url
    choose(page, "one", "Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(titles(page)).to_have_text(["two"])
    assert page.url == address


def test_a_deletion_is_undone_by_its_toast(visit: Visit, nora: Member) -> None:
    page = visit(nora)
    ask_all(page, "one", "two")
    choose(page, "one", "Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(titles(page)).to_have_text(["two"])
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(titles(page)).to_have_text(["two", "one"])
    expect(entry(page, "one").get_by_role("link")).to_be_focused()
    expect(page.locator("#toasts")).to_contain_text("Restored.")


def test_the_menu_is_used_by_the_keyboard(visit: Visit, nora: Member) -> None:
    page = visit(nora)
    ask_all(page, "one")
    entry(page, "one").locator(".entry-button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".conversation-group")).to_have_text(["Pinned"])
    expect(entry(page, "one").locator(".entry-button")).to_be_focused()


def test_older_conversations_are_appended_on_scrolling(
    visit: Visit, server: LiveServer, nora: Member, name: str
) -> None:
    many_conversations(server, name, 120)
    page = visit(nora)
    page.goto("/")
    expect(titles(page)).to_have_count(50)
    for count in (100, 120):
        titles(page).last.scroll_into_view_if_needed()
        expect(titles(page)).to_have_count(count)
    assert titles(page).all_inner_texts() == [f"Old {n}" for n in range(120)]


def test_a_change_elsewhere_keeps_the_loaded_list_and_its_place(
    visit: Visit, server: LiveServer, nora: Member, name: str
) -> None:
    many_conversations(server, name, 80)
    page = visit(nora)
    with page.expect_websocket():
        page.goto("/")
    titles(page).last.scroll_into_view_if_needed()
    expect(titles(page)).to_have_count(80)
    place = page.locator("#conversation-list").evaluate("list => list.scrollTop")
    newest = nora.http.get("/api/v1/conversations").json()["items"][0]["id"]
    change(nora, newest, title="Renamed")
    expect(titles(page).first).to_have_text("Renamed", timeout=SOON)
    expect(titles(page)).to_have_count(80)
    assert page.locator("#conversation-list").evaluate("list => list.scrollTop") == place > 0


def test_an_old_conversation_that_is_open_is_marked_once_and_stays_in_view(
    visit: Visit, server: LiveServer, nora: Member, name: str
) -> None:
    path = many_conversations(server, name, 120)
    page = visit(nora)
    page.goto(path)
    marked = page.locator("#conversations [aria-current=page]")
    expect(marked).to_be_in_viewport(ratio=1)
    for shown in (100, 120):
        page.locator("#more-conversations").scroll_into_view_if_needed()
        expect(titles(page)).to_have_count(shown + (shown < 120))
        page.locator("#conversation-list").evaluate("list => list.scrollTo(0, 0)")
        expect(marked).to_have_text("Old 119")
        expect(marked).to_be_in_viewport(ratio=1)


def test_the_groups_move_with_the_day(visit: Visit, server: LiveServer, bob: Member) -> None:
    """At 22:30, a conversation of 20:00 is of today. Two hours east it is of yesterday."""
    hour = datetime.now(UTC).hour
    evening = (22 - hour + 12) % 24 - 12
    many_conversations(server, "bob-of-the-list", 1)
    moved = "Conversation.objects.filter(owner__username='bob-of-the-list')"
    moved += ".update(updated_at=timezone.now() - timedelta(hours=2.5))"
    done = server.manage("shell", "-c", f"from chat.models import *; from datetime import timedelta; {moved}")
    assert done.returncode == 0, done.stderr
    page = visit(bob, timezone_id=zone(evening))
    page.context.add_cookies([{"name": COOKIE, "value": zone(evening), "url": server.url}])
    page.clock.install()
    with page.expect_websocket():
        page.goto("/")
    expect(page.locator(".conversation-group")).to_have_text(["Today"])
    page.context.add_cookies([{"name": COOKIE, "value": zone(evening + 2), "url": server.url}])
    page.clock.fast_forward("24:00:00")
    expect(page.locator(".conversation-group")).to_have_text(["Yesterday"])


def zone(hours: int) -> str:
    """Return the name of a time zone this many hours east of Greenwich."""
    return f"Etc/GMT{-hours:+d}"


# --- two browsers of one member, and a stranger's -------------------------------------------------


@pytest.fixture
def network(server: LiveServer) -> Iterator[Network]:
    network = Network(server.url)
    yield network
    network.close()


CHANGES: dict[str, Any] = {
    "rename": lambda member, pk: change(member, pk, title="Renamed"),
    "pin": lambda member, pk: change(member, pk, pinned=True),
    "archive": lambda member, pk: change(member, pk, archived=True),
    "delete": lambda member, pk: member.http.delete(
        f"/api/v1/conversations/{pk}", headers=member.headers()
    ).raise_for_status(),
}
SHOWN: dict[str, list[str]] = {
    "rename": ["two", "Renamed"],
    "pin": ["one", "two"],
    "archive": ["two"],
    "delete": ["two"],
}


@pytest.mark.parametrize("is_cut", [False, True], ids=["connected", "after a cut"])
@pytest.mark.parametrize("kind", CHANGES)
def test_another_browser_shows_a_change_of_the_list(
    visit: Visit, nora: Member, bob: Member, network: Network, kind: str, is_cut: bool
) -> None:
    page = visit(nora)
    ask_all(page, "one", "two")
    oldest = nora.http.get("/api/v1/conversations").json()["items"][-1]["id"]
    other = visit(nora.at(network.url), expect_faults=["WebSocket", "ERR_", "Failed to load"])
    stranger = visit(bob)
    for each in (other, stranger):
        with each.expect_websocket():
            each.goto("/")
    before = stranger.locator("body").inner_html()
    expect(titles(other)).to_have_text(["two", "one"])
    if is_cut:
        network.cut()
        CHANGES[kind](nora, oldest)
        with other.expect_websocket():
            network.restore()
    else:
        CHANGES[kind](nora, oldest)
    expect(titles(other)).to_have_text(SHOWN[kind], timeout=SOON)
    assert stranger.locator("body").inner_html() == before


def test_another_browser_shows_the_chosen_branch(visit: Visit, nora: Member, gemini: Gemini) -> None:
    gemini.on("one", [Text("first")], [Text("second")])
    page, other = visit(nora), visit(nora)
    ask_all(page, "one")
    with other.expect_websocket():
        other.goto(page.url)
    page.get_by_role("button", name="Regenerate").click()
    expect(other.locator("article.assistant .prose")).to_have_text("second")
    wait_until_idle(page)
    items = nora.http.get(f"/api/v1/conversations/{conversation_of(page)}").json()["messages"]["items"]
    change(nora, conversation_of(page), head=items[-1]["siblings"][0])
    for each in (page, other):
        expect(each.locator("article.assistant .prose")).to_have_text("first", timeout=SOON)
        assert shown_texts(each) == ["one", "first"]
