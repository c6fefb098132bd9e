"""Search in the sidebar: results as one types, and a jump to the message."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit
from tests.browser.seeds import long_conversation
from tests.support.live import LiveServer, Member

BRANCHES = """
from accounts.models import User
from chat.models import Conversation, Message
owner = User.objects.get(username={name!r})
made = Conversation.objects.create(owner=owner, agent="chat_assistant", title="Branches")
for text in ("the older kumquat", "the newer lychee"):
    question = Message.objects.create(conversation=made, role="user", text=text)
Conversation.objects.filter(pk=made.pk).update(head=question)
"""


@pytest.fixture(scope="module")
def fiona(server: LiveServer, sign_up: SignUp) -> Member:
    """Return a member with a conversation of 400 messages, and one whose older version has a kumquat."""
    member = sign_up(server, "fiona")
    long_conversation(server, member.name, 400, "orange number%s")
    done = server.manage("shell", "-v0", "-c", BRANCHES.format(name="fiona"))
    assert done.returncode == 0, done.stderr
    return member


def find(page: Page, text: str) -> None:
    page.get_by_role("searchbox").press_sequentially(text)


def test_results_replace_the_list_while_one_types(visit: Visit, fiona: Member) -> None:
    page = visit(fiona)
    page.goto("/")
    page.wait_for_load_state()
    find(page, "KUMQ")
    expect(page.locator(".hits a")).to_have_count(1)
    expect(page.locator(".hits mark")).to_have_text("kumq")
    expect(page.locator("#conversations")).to_be_hidden()


def test_the_number_of_results_is_announced(visit: Visit, fiona: Member) -> None:
    page = visit(fiona)
    page.goto("/")
    page.wait_for_load_state()
    find(page, "kumquat")
    expect(page.locator("#found-status")).to_have_text("1 result")


def test_escape_returns_the_list(visit: Visit, fiona: Member) -> None:
    page = visit(fiona)
    page.goto("/")
    page.wait_for_load_state()
    find(page, "kumquat")
    expect(page.locator(".hits a")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("#conversations")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_value("")


def test_arrow_keys_reach_the_results(visit: Visit, fiona: Member) -> None:
    page = visit(fiona)
    page.goto("/")
    page.wait_for_load_state()
    find(page, "lychee")
    expect(page.locator(".hits a")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    expect(page.locator(".hits a")).to_be_focused()


def test_more_results_are_appended(visit: Visit, fiona: Member) -> None:
    page = visit(fiona)
    page.goto("/")
    page.wait_for_load_state()
    find(page, "orange")
    expect(page.locator(".hits a")).to_have_count(30)
    page.get_by_role("link", name="More results").click()
    expect(page.locator(".hits a")).to_have_count(60)


def open_hit(page: Page, text: str) -> None:
    page.goto("/")
    page.wait_for_load_state()
    find(page, text)
    expect(page.locator(".hits a")).to_have_count(1)
    page.locator(".hits a").click()


@pytest.mark.parametrize("number", ["number390", "number220", "number49"], ids=["near", "above", "far"])
def test_a_result_opens_its_message_in_view(visit: Visit, fiona: Member, number: str) -> None:
    page = visit(fiona)
    open_hit(page, number)
    message = page.locator("article:target")
    expect(message).to_contain_text(number)
    expect(message).to_be_in_viewport()


def test_the_results_stay_when_one_is_opened(visit: Visit, fiona: Member) -> None:
    page = visit(fiona)
    open_hit(page, "lychee")
    expect(page).to_have_url(re.compile("message="))
    expect(page.get_by_role("searchbox")).to_have_value("lychee")
    expect(page.locator(".hits [aria-current]")).to_have_count(1)


def test_an_older_version_is_shown_and_can_be_continued(visit: Visit, fiona: Member) -> None:
    page = visit(fiona)
    open_hit(page, "kumquat")
    expect(page.locator("article:target")).to_contain_text("the older kumquat")
    expect(page.get_by_text("This is an earlier version of the conversation.")).to_be_visible()
    page.get_by_role("button", name="Continue from it").click()
    expect(page.get_by_label("Message", exact=True)).to_be_visible()
    expect(page.locator("article")).to_contain_text(["the older kumquat"])


def test_a_get_of_an_older_version_changes_nothing(visit: Visit, fiona: Member) -> None:
    items = fiona.http.get("/api/v1/search?q=kumquat").json()["items"]
    path = f"/api/v1/conversations/{items[0]['conversation']}"
    before = json.loads(fiona.http.get(path).text)["head"]
    fiona.http.get(f"/chat/{items[0]['conversation']}/?message={items[0]['message']}")
    assert json.loads(fiona.http.get(path).text)["head"] == before


def test_search_works_without_scripts(visit: Visit, fiona: Member) -> None:
    page = visit(fiona, java_script_enabled=False)
    page.goto("/")
    page.get_by_role("searchbox").fill("number7")
    page.keyboard.press("Enter")
    expect(page.locator(".hits mark").first).to_have_text("number7")
    page.locator(".hits a").last.click()
    expect(page.locator("article:target")).to_contain_text("number7")
