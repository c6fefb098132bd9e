"""Reports, decisions and appeals in a browser, on a phone and without scripts too."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, wait_until_idle
from tests.browser.test_accessibility import axe_violations
from tests.browser.test_moderation import PHONE, shoot
from tests.support.live import LiveServer, Member

WORDS = "Please do not ask for this."


@pytest.fixture(scope="module")
def carol(server: LiveServer, sign_up: SignUp) -> Member:
    return sign_up(server, "carol")


def decide(server: LiveServer, member: Member, *calls: str) -> None:
    """Make decisions about a member, as a moderator: of ``decisions``, with ``m``, ``member`` and ``why``."""
    made = server.manage(
        "shell",
        "-c",
        "from datetime import timedelta\n"
        "from django.contrib.auth.models import Group\n"
        "from django.utils import timezone\n"
        "from accounts.models import User\n"
        "from chat.models import Conversation, Message\n"
        "from chat.moderation import decisions\n"
        "from chat.moderation.groups import MODERATOR\n"
        f"member = User.objects.get(username={member.name!r})\n"
        "m, _new = User.objects.get_or_create(username='desk', defaults={'is_staff': True})\n"
        "m.groups.add(Group.objects.get(name=MODERATOR))\n"
        f"why = decisions.Why('harmful', {WORDS!r}, 'private')\n"
        + "".join(f"decisions.{call}\n" for call in calls),
    )
    assert made.returncode == 0, made.stderr


def answered(page: Page, question: str) -> str:
    """Ask in a new conversation, and return its id."""
    page.goto("/")
    ask(page, question)
    wait_until_idle(page)
    return conversation_of(page)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("desktop", {}),
        ("phone", {**PHONE, "color_scheme": "dark"}),
        ("without-scripts", {"java_script_enabled": False}),
    ],
)
def test_a_reply_is_reported_from_the_flag_below_it(
    visit: Visit, carol: Member, name: str, options: dict[str, Any]
) -> None:
    conversation = answered(visit(carol), f"A question on {name}")
    page = visit(carol, **options)
    page.goto(f"/chat/{conversation}/")
    reply = page.locator("article.assistant").last
    reply.hover()
    shoot(page, f"flag-{name}")
    reply.get_by_role("link", name="Report").click()
    expect(page.get_by_role("heading", name="Report this answer")).to_be_visible()
    with_scripts = options.get("java_script_enabled", True)
    if with_scripts:
        assert axe_violations(page) == []
    shoot(page, f"report-{name}")
    page.get_by_label("It reveals something private").check()
    page.get_by_label("In your own words, if you like").fill("It has my address.")
    page.get_by_role("button", name="Send the report").click()
    expect(page.get_by_role("status")).to_contain_text("Thank you.")
    expect(page.get_by_role("status")).to_contain_text("It reveals something private")
    if with_scripts:
        assert axe_violations(page) == []
    shoot(page, f"reported-{name}")
    page.get_by_role("link", name="Your reports").click()
    expect(page.locator(".entry").first).to_contain_text("It has my address.")
    expect(page.locator(".entry").first).to_contain_text("Not decided yet")
    if with_scripts:
        assert axe_violations(page) == []
    shoot(page, f"reports-{name}")
    page.locator(".entry").first.get_by_role("link").click()
    expect(page.locator(".bubble").first).to_have_text(f"A question on {name}")


def test_a_fresh_answer_has_the_flag_too(visit: Visit, carol: Member) -> None:
    page = visit(carol)
    answered(page, "Just now")
    page.locator("article.assistant").hover()
    page.get_by_role("link", name="Report").click()
    expect(page.locator(".reported")).to_be_visible()


@pytest.mark.parametrize(("name", "options"), [("desktop", {}), ("phone", {**PHONE, "color_scheme": "dark"})])
def test_a_warning_is_read_and_appealed_against(
    visit: Visit, server: LiveServer, sign_up: SignUp, name: str, options: dict[str, Any]
) -> None:
    dora = sign_up(server, "dora")
    conversation = answered(visit(dora), "Something rude")
    page = visit(dora, **options)
    decide(
        server,
        dora,
        f"impose_lock(m, Conversation.objects.get(pk={conversation!r}), why)",
        "warn(m, member, why)",
    )
    page.goto("/account/decisions/")
    expect(page.locator(".entry")).to_have_count(2)
    assert axe_violations(page) == []
    shoot(page, f"decisions-{name}")
    page.get_by_role("button", name="I have read this").click()
    expect(page.get_by_text("You read it on")).to_be_visible()
    warning = page.locator(".entry").first
    expect(warning).to_contain_text(WORDS)
    warning.get_by_text("Appeal", exact=True).click()
    expect(warning).to_contain_text("It is decided by")
    warning.get_by_label("Why should it be taken back?").fill("It was a quotation.")
    assert axe_violations(page) == []
    shoot(page, f"appealing-{name}")
    warning.get_by_role("button", name="Send the appeal").click()
    warning = page.locator(".entry").first
    expect(warning.get_by_role("region", name="Your appeal")).to_contain_text("It was a quotation.")
    expect(warning.get_by_role("button", name="Send the appeal")).to_have_count(0)
    assert axe_violations(page) == []
    shoot(page, f"appealed-{name}")
    decide(server, dora, "suspend(m, member, timezone.now() + timedelta(days=2), why)")
    page.reload()
    expect(page.locator(".entry").first).to_contain_text("Account suspended")
    assert "mona" not in page.content()
