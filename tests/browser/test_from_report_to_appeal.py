"""From a member's report to an appeal that is overturned: with a colleague, alone, and on a phone."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, conversation_of, serve, wait_until_idle
from tests.browser.test_accessibility import axe_violations
from tests.browser.test_moderation import PHONE, shoot
from tests.browser.test_review import shell
from tests.support.gemini import Gemini, Text
from tests.support.live import LiveServer, Member

ADVICE = "Take ten of the strong ones every hour"
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture(scope="module")
def server(gemini_server: Gemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    yield from serve(tmp_path_factory.mktemp("review"), gemini_server)


def appoint(server: LiveServer, member: Member, group: str) -> Member:
    """Make a member a moderator, or the owner of the site without a group."""
    shell(
        server,
        "from accounts.models import User; from django.contrib.auth.models import Group\n"
        f"staff = User.objects.filter(username={member.name!r})\n"
        f"is_owner = not {group!r}\n"
        "if is_owner: User.objects.filter(is_superuser=True).update(is_superuser=False)\n"
        "staff.update(is_staff=True, is_superuser=is_owner)\n"
        f"staff.get().groups.set(Group.objects.filter(name={group!r}))",
    )
    return member


@pytest.fixture
def alone(server: LiveServer, sign_up: SignUp) -> Member:
    """Return an owner without any other staff, and with an empty queue."""
    shell(
        server,
        "from accounts.models import User; from chat.moderation.models import ReviewItem\n"
        "ReviewItem.objects.all().delete(); User.objects.update(is_staff=False)",
    )
    return appoint(server, sign_up(server, "olga"), "")


def report_by_page(page: Page, gemini: Gemini) -> str:
    """Ask for advice and report the answer; return the id of the conversation."""
    gemini.on("How much may I take?", [Text(f"{ADVICE}, it is harmless.")])
    page.goto("/")
    page.wait_for_load_state()
    page.get_by_label("Message", exact=True).fill("How much may I take?")
    page.get_by_role("button", name="Send", exact=True).click()  # on a phone, Enter begins a line
    expect(page.locator("article.assistant")).to_contain_text(ADVICE)
    wait_until_idle(page)
    conversation = conversation_of(page)
    reply = page.locator("article.assistant").last
    reply.hover()
    reply.get_by_role("link", name="Report").click()
    page.get_by_label("It encourages somebody to harm themselves").check()
    page.get_by_role("button", name="Send the report").click()
    expect(page.get_by_role("status")).to_contain_text("Thank you.")
    return conversation


def claim_first(desk: Page) -> None:
    desk.goto("/admin/")
    assert axe_violations(desk) == []
    shoot(desk, "day-start")
    desk.goto("/admin/moderation/")
    desk.locator(".queue-link").first.click()
    desk.get_by_role("button", name="Claim").click()


def hide(desk: Page) -> None:
    claim_first(desk)
    expect(desk.locator(".excerpt-entry.named")).to_contain_text(ADVICE)
    desk.get_by_label("Hide the message").check()
    desk.get_by_role("radio", name="It is harmful or dangerous").check()
    desk.get_by_label("Words for the member").fill("Ask a doctor, please.")
    desk.get_by_role("button", name="Act", exact=True).click()
    expect(desk.get_by_text("It is done. The member reads the decision.")).to_be_visible()


def appeal(page: Page, conversation: str) -> None:
    """Find the tombstone on the open page, follow it to the decision, and appeal."""
    page.goto(f"/chat/{conversation}/")
    tombstone = page.locator("article.assistant").last
    expect(tombstone).to_contain_text("A moderator has hidden this message.")
    expect(tombstone).to_contain_text("Ask a doctor, please.")
    assert ADVICE not in page.content()
    assert axe_violations(page) == []
    shoot(page, "day-tombstone")
    tombstone.get_by_role("link").last.click()
    expect(page.get_by_text("Ask a doctor, please.")).to_be_visible()
    page.locator("details.appeal summary").first.click()
    page.get_by_label("Why should it be taken back?").first.fill("It was a quotation of a bad example.")
    page.get_by_role("button", name="Send the appeal").first.click()
    expect(page.get_by_text("It was a quotation of a bad example.")).to_be_visible()
    assert axe_violations(page) == []
    shoot(page, "day-appealed")


def overturn(desk: Page) -> None:
    claim_first(desk)
    expect(desk.get_by_text("It was a quotation of a bad example.").first).to_be_visible()
    assert axe_violations(desk) == []
    shoot(desk, "day-appeal-item")
    desk.get_by_label("Words for the member").fill("You are right, sorry.")
    desk.get_by_role("button", name="Overturn").click()
    expect(desk.get_by_text("The decision is taken back.")).to_be_visible()


def restored(page: Page, conversation: str) -> None:
    page.goto("/account/decisions/")
    expect(page.get_by_text("You are right, sorry.")).to_be_visible()
    page.goto(f"/chat/{conversation}/")
    expect(page.locator("article.assistant").last).to_contain_text(ADVICE)


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_colleague_overturns_a_decision(
    server: LiveServer, visit: Visit, sign_up: SignUp, gemini: Gemini, alone: Member, device: dict[str, Any]
) -> None:
    page = visit(sign_up(server, "alice"), **device)
    conversation = report_by_page(page, gemini)
    mona = visit(appoint(server, sign_up(server, "mona"), "Moderator"), **device)
    nina = visit(appoint(server, sign_up(server, "nina"), "Moderator"), **device)
    hide(mona)
    appeal(page, conversation)
    mona.goto("/admin/moderation/")
    mona.locator(".queue-link").first.click()
    expect(mona.get_by_text("somebody else decides")).to_be_visible()
    overturn(nina)
    restored(page, conversation)


def test_a_lone_owner_overturns_after_24_hours(
    server: LiveServer, visit: Visit, sign_up: SignUp, gemini: Gemini, alone: Member
) -> None:
    page = visit(sign_up(server, "alice"))
    conversation = report_by_page(page, gemini)
    desk = visit(alone)
    hide(desk)
    appeal(page, conversation)
    expect(page.get_by_text("24 hours")).to_be_visible()
    desk.goto("/admin/moderation/")
    desk.locator(".queue-link").first.click()
    expect(desk.get_by_text("come back in 24 hours")).to_be_visible()
    shell(
        server,
        "from chat.moderation.models import Appeal; from django.utils import timezone\n"
        "from datetime import timedelta\n"
        "Appeal.objects.update(appealed_at=timezone.now() - timedelta(hours=25))",
    )
    overturn(desk)
    restored(page, conversation)
