"""Account pages: password reset, e-mail addresses, and the first page of a new site."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit
from tests.support.live import LiveServer, Member

NEW_PASSWORD = "staple battery horse"


@pytest.fixture
def dora(server: LiveServer, sign_up: SignUp, request: pytest.FixtureRequest) -> Member:
    """Return a new member, whose account the test changes."""
    return sign_up(server, f"dora{abs(hash(request.node.name))}")


def newest_letter(server: LiveServer) -> str:
    letters = sorted(Path(server.data_dir, "mail").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return letters[-1].read_text()


def test_a_password_reset_ends_signed_in(visit: Visit, server: LiveServer, sign_up: SignUp) -> None:
    sign_up(server, "reset")
    page = visit(url=server.url)
    page.goto("/accounts/login/")
    page.get_by_role("link", name="Forgot your password?").click()
    page.get_by_label("E-mail address").fill("reset@example.org")
    page.get_by_role("button", name="Make the link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Ask the owner of this site")
    link = re.search(r"http\S+/key/\S+", newest_letter(server))
    assert link
    page.goto(link[0])
    page.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
    page.get_by_label("New password, once more").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Save the password").click()
    expect(page.get_by_label("Message", exact=True)).to_be_visible()


def test_the_only_address_asks_before_it_is_removed(visit: Visit, dora: Member) -> None:
    page = visit(dora)
    page.goto("/accounts/email/")
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"Remove dora\d+@example.org\?"))
    expect(page.locator("main")).to_contain_text("you cannot reset it")
    page.get_by_role("link", name="Cancel").click()
    expect(page.locator(".address")).to_have_count(1)


def test_the_primary_address_has_no_button_to_make_it_primary(visit: Visit, dora: Member) -> None:
    page = visit(dora)
    add_address(page, "second@example.org")
    expect(page.get_by_role("button", name="Make primary")).to_have_count(1)


def test_a_success_has_another_color_than_a_problem(visit: Visit, dora: Member) -> None:
    page = visit(dora)
    add_address(page, "third@example.org")
    page.locator("li", has_text="third@example.org").get_by_role("button", name="Make primary").click()
    color = page.locator(".notice").evaluate("(it) => getComputedStyle(it).borderInlineStartColor")
    assert color == "rgb(28, 107, 58)"


def test_a_new_site_says_where_its_set_up_link_is(visit: Visit, tmp_path: Path) -> None:
    server = LiveServer(tmp_path).prepare().start()
    try:
        page = visit(url=server.url)
        page.goto("/")
        expect(page.locator(".notice")).to_contain_text("in the terminal, or in the log")
    finally:
        server.kill()


def add_address(page: Page, address: str) -> None:
    page.goto("/accounts/email/")
    page.get_by_label("E-mail address").fill(address)
    page.get_by_role("button", name="Add", exact=True).click()
