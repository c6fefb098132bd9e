"""The admin in a browser: security policy, colors, small screens."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit
from tests.browser.test_accessibility import axe_violations
from tests.browser.test_page_height import ESCAPED
from tests.support.gemini import Call, Gemini, Text, Thought
from tests.support.live import LiveServer, Member

ANSWER = """It is **noon**, as `<b>code</b>` says.

### A heading

- one
- two

| place | time |
|---|---|
| Lagos | 12:00 |

```python
print("noon")  # a comment
```
"""
QUESTION = "What time is it in Lagos? <script>alert(1)</script>"


@pytest.fixture(scope="session")
def mona(server: LiveServer, sign_up: SignUp) -> Member:
    return moderator(server, sign_up, "mona")


def moderator(server: LiveServer, sign_up: SignUp, name: str) -> Member:
    member = sign_up(server, name)
    made = server.manage(
        "shell",
        "-c",
        "from accounts.models import User; from django.contrib.auth.models import Group;"
        f"user = User.objects.get(username={name!r}); user.is_staff = True;"
        "user.save(update_fields=['is_staff']);"
        "user.groups.add(Group.objects.get(name='Senior moderator'))",
    )
    assert made.returncode == 0, made.stderr
    return member


@pytest.fixture
def answered_twice(alice: Member, gemini: Gemini) -> None:
    """Make a conversation of alice whose question has two answers."""
    gemini.on(
        QUESTION,
        [Thought("A clock is wanted."), Call("current_time", {"time_zone": "Africa/Lagos"})],
        [Text(ANSWER)],
    )
    with alice.ask(QUESTION) as stream:
        again = {"prompt": stream.all_events()[0].json()["prompt"]}
    with alice.http.stream("POST", "/chat/stream", json=again, headers=alice.headers()) as response:
        response.read()


SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
TakeScreenshot = Callable[[Page, str], None]


@pytest.fixture
def take_screenshot() -> TakeScreenshot:
    """Return a function that saves a screenshot in the folder that SCREENSHOTS names, if it is set."""
    folder = os.environ.get("SCREENSHOTS")

    def take(page: Page, name: str) -> None:
        if folder:
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return take


def open_with_reason(page: Page) -> None:
    """Give the reason that the page asks for."""
    page.get_by_label("A report").check()
    page.get_by_role("button", name="Open the conversation").click()


def open_transcript(page: Page, messages: int = 2) -> None:
    """Open alice's newest conversation from the list, with a reason."""
    page.goto("/admin/chat/conversation/?q=alice")
    page.locator("#result_list tbody th a").first.click()
    open_with_reason(page)
    expect(page.locator("article.transcript-entry")).to_have_count(messages)
    page.wait_for_load_state()  # the text appears before its styles


def search_texts(page: Page, words: str) -> None:
    """Search the texts of all members, with a reason where there is none yet."""
    page.goto("/admin/search/")
    if page.get_by_label("A report").count():
        page.get_by_label("A report").check()
        page.get_by_role("button", name="Search for 30 minutes").click()
    page.get_by_label("Words of a message or a title").fill(words)
    page.get_by_role("button", name="Search", exact=True).click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_moderator_reaches_a_transcript_from_the_index(
    visit: Visit, mona: Member, answered_twice: None, take_screenshot: TakeScreenshot, scheme: str
) -> None:
    page = visit(mona, color_scheme=scheme)
    page.goto("/admin/")
    take_screenshot(page, f"index-{scheme}")
    page.get_by_role("link", name="Conversations", exact=True).first.click()
    take_screenshot(page, f"list-{scheme}")
    page.locator("#searchbar").fill("alice")
    page.keyboard.press("Enter")
    expect(page.locator("#result_list tbody tr").first).to_contain_text("alice")
    page.locator("#changelist-filter").get_by_role("link", name="Completed").click()
    page.get_by_label("From").fill("2026-01-01")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_label("From")).to_have_value("2026-01-01")
    expect(page.locator("#result_list")).not_to_contain_text("Lagos")
    page.locator("#result_list tbody th a").first.click()
    expect(page.get_by_role("heading", name="Open it with a reason")).to_be_visible()
    take_screenshot(page, f"opening-{scheme}")
    open_with_reason(page)
    expect(page.locator("article.transcript-entry")).to_have_count(2)
    expect(page.get_by_text("Each look is recorded.")).to_be_visible()
    page.wait_for_load_state()
    take_screenshot(page, f"transcript-{scheme}")
    expect(page.locator(".bubble")).to_contain_text("<script>alert(1)</script>")
    page.get_by_role("link", name="previous").click()
    expect(page.get_by_text("This is not the branch that its owner sees.")).to_be_visible()
    page.wait_for_load_state()
    expect(page.locator(".transcript-entry.assistant details")).to_have_count(2)
    expect(page.get_by_text("A clock is wanted.")).not_to_be_visible()
    page.locator("summary", has_text="Thought").click()
    expect(page.get_by_text("A clock is wanted.")).to_be_visible()
    expect(page.locator("svg[hidden]")).not_to_be_visible()  # the definitions that icons refer to
    icon = page.locator(".transcript .icon").first.bounding_box()
    assert icon is not None
    assert (icon["width"], icon["height"]) == (20, 20)
    page.locator("summary", has_text="current_time").click()
    take_screenshot(page, f"transcript-open-{scheme}")
    page.locator(".run-facts").last.get_by_role("link", name="run", exact=True).click()
    expect(page.locator(".readonly").first).to_be_visible()
    take_screenshot(page, f"run-{scheme}")
    page.goto("/admin/chat/run/")
    take_screenshot(page, f"runs-{scheme}")
    page.goto("/admin/accounts/user/")
    take_screenshot(page, f"users-{scheme}")


@pytest.mark.parametrize(
    ("scheme", "background"), [("light", "rgb(251, 250, 247)"), ("dark", "rgb(24, 23, 20)")]
)
def test_the_admin_has_the_colors_of_the_site(
    visit: Visit, mona: Member, answered_twice: None, scheme: str, background: str
) -> None:
    page = visit(mona, color_scheme=scheme)
    page.goto("/admin/chat/conversation/")
    assert page.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor") == background
    # a chosen theme wins over the system's
    page.locator("html").evaluate("(html) => { html.dataset.theme = 'dark' }")
    assert page.locator("body").evaluate("(b) => getComputedStyle(b).backgroundColor") == "rgb(24, 23, 20)"


def test_an_answer_looks_the_same_in_the_admin_and_to_its_owner(
    visit: Visit, alice: Member, mona: Member, answered_twice: None
) -> None:
    # The admin's own style sheets would win over the chat's, which are in cascade layers.
    styles = """(all) => all.map((element) => {
        const style = getComputedStyle(element);
        return [element.tagName, style.fontSize, style.fontFamily, style.color, style.backgroundColor,
                style.paddingInlineStart, style.listStyleType, style.borderBlockEndWidth, style.fontWeight,
                style.marginBlockStart, style.marginInlineStart];
    })"""
    chat, admin = visit(alice), visit(mona)
    chat.goto("/")
    chat.locator("#conversations a", has_text="What time is it in Lagos?").first.click()
    expect(chat.locator(".prose")).to_have_count(1)
    chat.wait_for_load_state()
    open_transcript(admin)
    content = ".prose :not(button, button *)"  # the chat's script adds buttons to code
    assert admin.locator(content).evaluate_all(styles) == chat.locator(content).evaluate_all(styles)


@pytest.mark.parametrize("width", [360, 1280])
def test_a_transcript_does_not_scroll_sideways(
    visit: Visit, mona: Member, answered_twice: None, take_screenshot: TakeScreenshot, width: int
) -> None:
    page = visit(mona, viewport={"width": width, "height": 720})
    page.goto("/admin/chat/conversation/")
    take_screenshot(page, f"list-{width}")
    open_transcript(page)
    take_screenshot(page, f"transcript-{width}")
    assert page.locator("html").evaluate("(html) => html.scrollWidth - html.clientWidth") <= 0
    assert page.locator(".transcript").evaluate("(it) => it.scrollWidth - it.clientWidth") == 0


def test_a_transcript_is_no_taller_than_its_content(visit: Visit, mona: Member, answered_twice: None) -> None:
    page = visit(mona)
    open_transcript(page)
    for summary in page.locator("article summary").all():
        summary.click()
    assert page.evaluate(ESCAPED) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_in_the_admin(visit: Visit, mona: Member, answered_twice: None, width: int) -> None:
    page = visit(mona, viewport={"width": width, "height": 860})
    for path in ("/admin/", "/admin/chat/conversation/", "/admin/chat/run/", "/admin/accounts/user/"):
        page.goto(path)
        assert (path, in_both_schemes(page)) == (path, [])
    page.goto("/admin/chat/conversation/?q=alice")
    page.locator("#result_list tbody th a").first.click()
    assert in_both_schemes(page) == []
    open_transcript(page)
    assert in_both_schemes(page) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_on_the_pages_of_runs_processes_and_users(
    visit: Visit, mona: Member, answered_twice: None, width: int
) -> None:
    # axe itself applies a style, to read a sheet that another one imports
    faults = ["Applying inline style", "preload assets"]
    page = visit(mona, viewport={"width": width, "height": 860}, expect_faults=faults)
    for path in ("/admin/chat/run/", "/admin/chat/process/", "/admin/accounts/user/"):
        page.goto(path)
        page.locator("#result_list tbody th a").first.click()
        page.wait_for_load_state()
        assert (path, in_both_schemes(page)) == (path, [])


def test_the_words_of_a_search_are_marked_in_the_transcript(
    visit: Visit, mona: Member, answered_twice: None
) -> None:
    page = visit(mona)
    search_texts(page, "noon lagos")
    page.locator("#found tbody th a").first.click()
    open_with_reason(page)
    expect(page.locator("article.transcript-entry")).to_have_count(2)
    page.wait_for_load_state()
    marked = "[...CSS.highlights.get('hits')].map((range) => range.toString().toLowerCase())"
    assert set(page.evaluate(marked)) == {"noon", "lagos"}


def test_a_transcript_from_a_search_is_shown_at_the_last_hit(
    visit: Visit, mona: Member, alice: Member, gemini: Gemini
) -> None:
    gemini.on("Tell me a story", [Text("And so on.\n\n" * 200 + "Here it is: zebrafish.")])
    with alice.ask("Tell me a story") as stream:
        stream.until("run.completed")
    page = visit(mona)
    search_texts(page, "zebrafish")
    expect(page.locator("#found tbody tr")).to_have_count(1)
    page.locator("#found tbody th a").click()
    open_with_reason(page)
    expect(page.get_by_text("Here it is: zebrafish.")).to_be_in_viewport()


def test_the_last_column_of_a_list_is_reached_on_a_phone(
    visit: Visit, mona: Member, answered_twice: None
) -> None:
    page = visit(mona, viewport={"width": 390, "height": 800})
    page.goto("/admin/chat/run/")
    last = page.locator("#result_list tbody tr").first.locator("td").last
    page.locator("#changelist .results").evaluate("(list) => list.scrollTo(list.scrollWidth, 0)")
    box = last.bounding_box()
    assert box is not None
    assert 0 < box["x"] < box["x"] + box["width"] <= 390


def test_the_admin_leads_back_to_the_chat_and_signs_out(
    visit: Visit, server: LiveServer, sign_up: SignUp
) -> None:
    page = visit(moderator(server, sign_up, "max"))
    page.goto("/admin/")
    page.get_by_role("link", name="To the chat").click()
    expect(page.get_by_label("Message", exact=True)).to_be_visible()
    page.goto("/admin/")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def in_both_schemes(page: Page) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        found += [(scheme, *fault) for fault in axe_violations(page)]
    return found
