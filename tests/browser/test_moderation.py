"""Moderation in a browser: the day of a lone owner, with its clicks counted, and the member's side."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, wait_until_idle
from tests.browser.test_accessibility import axe_violations
from tests.support.gemini import Gemini, Status
from tests.support.live import LiveServer, Member

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
HELP_CLICKS, FAILURE_CLICKS, UNDO_CLICKS = 3, 6, 4  # as docs/moderation.md states


@pytest.fixture(scope="module")
def olga(server: LiveServer, sign_up: SignUp) -> Member:
    """Return the owner of the site."""
    member = sign_up(server, "olga")
    made = server.manage(
        "shell",
        "-c",
        "from accounts.models import User; User.objects.filter(is_superuser=True).update(is_superuser=False);"
        f"User.objects.filter(username={member.name!r}).update(is_staff=True, is_superuser=True)",
    )
    assert made.returncode == 0, made.stderr
    return member


class Clicks:
    """Counter of what a person presses; typing and the address bar are not counted."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, target: Locator) -> None:
        target.click()
        self.count += 1


def shoot(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.wait_for_load_state("networkidle")
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def menu(page: Page, item: str) -> Locator:
    """Open the menu of the shown conversation, and return one of its items."""
    page.locator(".pane-head .entry-button").click()
    return page.get_by_role("menuitem", name=item)


def test_a_request_for_help_takes_the_owner_three_clicks(visit: Visit, alice: Member, olga: Member) -> None:
    page = visit(alice)
    page.goto("/")
    ask(page, "Why is my report empty?")
    wait_until_idle(page)
    conversation = conversation_of(page)
    menu(page, "Let support read it").click()
    page.get_by_role("button", name="Let support read this conversation").click()
    expect(page.get_by_role("status")).to_contain_text("Support may read this conversation until")
    shoot(page, "consent")

    click, desk = Clicks(), visit(olga)
    desk.goto("/admin/")
    shoot(desk, "owner-index")
    click(desk.get_by_role("link", name="Conversations", exact=True).first)
    shoot(desk, "owner-list")
    click(desk.get_by_role("link", name=conversation))
    shoot(desk, "opening-consent")
    assert "Why is my report empty?" not in desk.content()
    click(desk.get_by_role("button", name="Open it with the member's consent"))
    expect(desk.locator(".bubble")).to_have_text("Why is my report empty?")
    expect(desk.locator(".grant-bar")).to_contain_text("because the member allowed it")
    shoot(desk, "transcript-by-consent")
    assert click.count == HELP_CLICKS

    page.goto("/account/staff-access/")
    expect(page.locator(".staff-acts li").first).to_contain_text("you allowed it")
    shoot(page, "staff-access")
    page.get_by_role("link", name="Why is my report empty?").first.click()
    page.get_by_role("button", name="No longer let support read it").click()
    desk.reload()
    expect(desk.get_by_text("Why is my report empty?")).to_have_count(0)
    expect(desk.get_by_role("heading", name="Open it with a reason")).to_be_visible()


def test_a_broken_agent_takes_the_owner_six_clicks(
    visit: Visit, alice: Member, olga: Member, gemini: Gemini
) -> None:
    gemini.on("Break", [Status(400, "INVALID_ARGUMENT")])
    page = visit(alice)
    page.goto("/")
    ask(page, "Break")
    wait_until_idle(page)

    click, desk = Clicks(), visit(olga)
    desk.goto("/admin/")
    click(desk.get_by_role("link", name="Runs", exact=True).first)
    click(desk.locator("#result_list tbody tr").first.locator("th a"))
    shoot(desk, "run-without-grant")
    click(desk.get_by_role("link", name="It may quote the conversation."))
    click(desk.get_by_label("A fault or an attack"))
    shoot(desk, "opening-reason")
    assert axe_violations(desk) == []
    click(desk.get_by_role("button", name="Open the conversation"))
    click(desk.locator(".run-facts").last.get_by_role("link", name="run", exact=True))
    expect(desk.locator(".field-failure_message")).to_contain_text("INVALID_ARGUMENT")
    shoot(desk, "run-with-grant")
    assert click.count == FAILURE_CLICKS


def test_a_deletion_is_undone_with_four_clicks(visit: Visit, olga: Member) -> None:
    page = visit(olga)
    page.goto("/")
    ask(page, "Keep me")
    wait_until_idle(page)
    address = page.url
    click = Clicks()
    click(page.locator(".pane-head .entry-button"))
    click(page.get_by_role("menuitem", name="Delete"))
    click(page.locator("#delete").get_by_role("button", name="Delete"))
    page.wait_for_url("**/?deleted=*")
    click(page.get_by_role("button", name="Undo"))
    page.goto(address)
    expect(page.locator(".bubble")).to_have_text("Keep me")
    assert click.count == UNDO_CLICKS


def test_a_refused_form_keeps_what_was_typed_and_a_reason_is_told_to_the_member(
    visit: Visit, alice: Member, olga: Member
) -> None:
    page = visit(alice)
    page.goto("/")
    ask(page, "Is this private?")
    wait_until_idle(page)
    conversation = conversation_of(page)
    desk = visit(olga, expect_faults=["status of 422"], **PHONE)
    desk.goto(f"/admin/chat/conversation/{conversation}/change/")
    desk.get_by_role("radio", name="Another reason").check()
    desk.get_by_role("button", name="Open the conversation").click()
    expect(desk.get_by_role("alert")).to_have_text("Say why, in a few words.")
    shoot(desk, "opening-phone")
    desk.get_by_label("In your words").fill("A question of the works council")
    desk.get_by_text("Tell the member later").click()
    desk.get_by_label("Days, at most 30").fill("99")
    desk.evaluate("document.querySelector('#delay-days').max = ''")
    desk.get_by_role("button", name="Open the conversation").click()
    expect(desk.get_by_label("In your words")).to_have_value("A question of the works council")
    desk.get_by_label("Days, at most 30").fill("0")
    desk.get_by_role("button", name="Open the conversation").click()
    expect(desk.locator(".bubble")).to_have_text("Is this private?")
    expect(desk.locator(".grant-bar")).to_contain_text("Another reason")
    assert axe_violations(desk) == []
    shoot(desk, "transcript-phone")
    desk.get_by_role("button", name="30 minutes from now").click()
    expect(desk.locator(".bubble")).to_have_text("Is this private?")
    desk.get_by_role("button", name="End", exact=True).click()
    expect(desk.locator("#result_list")).to_be_visible()
    page.goto("/account/staff-access/")
    expect(page.locator(".staff-acts li").first).to_contain_text("Another reason")
    assert "works council" not in page.content()
    assert axe_violations(page) == []


def test_a_one_time_link_is_shown_once_and_its_member_is_told(
    visit: Visit, server: LiveServer, sign_up: SignUp, olga: Member
) -> None:
    carol = sign_up(server, "carol")
    desk = visit(olga)
    desk.goto("/admin/accounts/user/")
    desk.get_by_role("link", name=carol.name, exact=True).click()
    shoot(desk, "user")
    desk.get_by_role("link", name="Help this member to sign in").click()
    desk.get_by_label("The member asked for help").check()
    shoot(desk, "sign-in-help")
    desk.get_by_role("button", name="Make a one-time link").click()
    link = desk.locator(".one-time-link").inner_text()
    shoot(desk, "one-time-link")
    page = visit(url=server.url)
    page.goto(link)
    page.get_by_label("New password", exact=True).fill("another horse battery")
    page.get_by_label("New password, once more").fill("another horse battery")
    shoot(page, "new-password")
    page.get_by_role("button", name="Save the password").click()
    expect(page.locator("#staff-acted")).to_contain_text("Staff acted on your account.")
    shoot(page, "staff-acted")
    page.get_by_role("link", name="See what they did").click()
    expect(page.locator(".staff-acts li")).to_have_count(2)
    page.goto("/")
    expect(page.locator("#staff-acted")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_audit_and_the_rules_are_accessible(visit: Visit, olga: Member, scheme: str) -> None:
    desk = visit(olga, color_scheme=scheme)
    for name, address in (
        ("audit", "/admin/audit/"),
        ("search", "/admin/search/"),
        ("policy", "/admin/policy/"),
        ("rules", "/account/what-staff-can-see/"),
    ):
        desk.goto(address)
        assert axe_violations(desk) == [], name
        shoot(desk, f"{name}-{scheme}")
