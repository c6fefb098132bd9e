"""Live watch, the moderator's first page and the figures in a browser: wide and narrow, light and dark."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, serve
from tests.browser.test_accessibility import axe_violations
from tests.browser.test_moderation import PHONE, olga
from tests.support.gemini import Call, Gemini, Hold, Step, Text, Thought
from tests.support.live import LiveServer, Member

__all__ = ["olga"]  # a fixture

Scheme = Literal["light", "dark"]
SCHEMES = ["light", "dark"]

# A queue with some history: two months of items, decided by two moderators, and two appeals.
HISTORY = """
import random
from datetime import timedelta
from django.utils import timezone
from accounts.models import User
from chat.models import Conversation, Message
from chat.moderation.models import Appeal, Decision, Policy, Report, ReviewItem
Policy.objects.update_or_create(pk=1, defaults={"watches_live": True})
if not User.objects.filter(username="=stella").exists():
    dice, now = random.Random(7), timezone.now()
    staff = [User.objects.create_user(name, is_staff=True) for name in ("mona", "=stella")]
    member = User.objects.get(username="alice")
    for number in range(120):
        conversation = Conversation.objects.create(owner=member, agent="chat_assistant", title="secret")
        message = Message.objects.create(conversation=conversation, role="assistant", text="secret")
        opened = now - timedelta(hours=12 * number + dice.randrange(12))
        decided = opened + timedelta(minutes=dice.randrange(5, 2000))
        is_decided = number > 6 and decided < now
        item = ReviewItem.objects.create(message=message, conversation=conversation, member=member,
            agent="chat_assistant", opened_at=opened, priority=dice.randrange(120),
            status="dismissed" if is_decided else "open",
            decided_at=decided if is_decided else None, decided_by=dice.choice(staff) if is_decided else None)
        Report.objects.create(item=item, source=dice.choice(("report", "report", "feedback", "block")),
            reason=dice.choice(("harmful", "wrong", "privacy", "self_harm")), reported_at=opened,
            member=member)
        if number in (20, 21):
            decision = Decision.objects.create(kind="warn", member=member, item=item, reason="harmful",
                decided_by=staff[0], decided_at=decided, ended_at=decided)
            Appeal.objects.create(decision=decision, item=item, text="secret", decided_by=staff[1],
                outcome="overturned" if number == 20 else "upheld", decided_at=decided + timedelta(hours=1))
    owner = User.objects.get(is_superuser=True)
    claimed = ReviewItem.objects.filter(status="open").order_by("-priority").first()
    ReviewItem.objects.filter(pk=claimed.pk).update(claimed_by=owner,
        claimed_until=now + timedelta(minutes=25))
"""


@pytest.fixture(scope="module")
def server(gemini_server: Gemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    yield from serve(tmp_path_factory.mktemp("watching"), gemini_server)


@pytest.fixture(scope="module")
def alice(server: LiveServer, sign_up: SignUp) -> Member:
    return sign_up(server, "alice")


@pytest.fixture(scope="module")
def history(server: LiveServer, alice: Member, olga: Member) -> None:
    made = server.manage("shell", "-c", HISTORY.replace('"alice"', repr(alice.name)))
    assert made.returncode == 0, made.stderr


@pytest.fixture
def writing(visit: Visit, alice: Member, gemini: Gemini) -> Iterator[tuple[Page, str]]:
    """Return alice's page, on which a reply is being written, and the id of its run."""
    steps: list[Step] = [Thought("Thinking of it."), Call("current_time", {"place": "Lisbon"})]
    shown = "## First\n\nThe first part, with `code`:\n\n```python\nprint(1)\n```\n\nand"
    gemini.on("Write", steps, [Text(shown), Hold(), Text(" the second part.")])
    page = visit(alice)
    page.goto("/")
    ask(page, "Write")
    expect(page.locator(".live .prose")).to_contain_text("The first part")
    run = page.locator(".live").get_attribute("data-run")
    assert run
    yield page, run
    gemini.release()


def open_it(desk: Page, page: Page) -> None:
    desk.goto(f"/admin/open/{conversation_of(page)}/")
    desk.get_by_label("A fault or an attack").check()
    desk.get_by_role("button", name="Open the conversation").click()


def shoot(page: Page, name: str) -> None:
    """Take a screenshot, of a page with an open stream too: such a network is never idle."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def fits(page: Page) -> bool:
    """Return whether the page does not scroll sideways."""
    scrolled: bool = page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    return scrolled


def test_a_running_reply_is_watched_to_its_end(
    visit: Visit,
    olga: Member,
    history: None,
    writing: tuple[Page, str],
    gemini: Gemini,
) -> None:
    page, run = writing
    desk = visit(olga)
    open_it(desk, page)
    desk.goto("/admin/")
    shoot(desk, "start-running")
    desk.get_by_role("link", name="Watch chat_assistant").first.click()
    reply = desk.locator("#watched .prose")
    expect(reply).to_contain_text("The first part")
    expect(desk.locator("#watched .tool-step")).to_have_count(1)
    expect(desk.get_by_role("status")).to_contain_text("This reply is being written.")
    desk.get_by_label("Your words to the member").fill("typed")
    shoot(desk, "watch-running")
    gemini.release()
    expect(reply).to_contain_text("the second part.")
    expect(desk.get_by_role("status")).to_contain_text("This reply has ended.")
    expect(desk.locator("#watch-act")).to_have_count(0)
    assert axe_violations(desk) == []
    shoot(desk, "watch-ended")
    desk.get_by_role("status").get_by_role("link", name="To the transcript").click()
    expect(desk.locator(".prose").last).to_contain_text("the second part.")
    assert run


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("device", [{}, PHONE], ids=["wide", "phone"])
def test_the_page_is_accessible_while_it_is_written(
    visit: Visit,
    olga: Member,
    history: None,
    writing: tuple[Page, str],
    scheme: Scheme,
    device: dict[str, Any],
) -> None:
    page, run = writing
    desk = visit(olga, color_scheme=scheme, **device)
    open_it(desk, page)
    desk.goto(f"/admin/watch/{run}/")
    expect(desk.locator("#watched .prose")).to_contain_text("The first part")
    assert axe_violations(desk) == []
    assert fits(desk)
    shoot(desk, f"watch-{scheme}-{'phone' if device else 'wide'}")


def test_a_hidden_reply_leaves_both_pages(
    visit: Visit,
    olga: Member,
    history: None,
    writing: tuple[Page, str],
) -> None:
    page, run = writing
    desk = visit(olga)
    open_it(desk, page)
    desk.goto(f"/admin/watch/{run}/")
    desk.get_by_label("It is harmful or dangerous").check()
    desk.get_by_label("Private note").fill("seen live")
    desk.get_by_role("button", name="Stop and hide").click()
    expect(desk.get_by_text("The reply is ended, and hidden")).to_be_visible()
    expect(desk.get_by_text("This reply has ended.")).to_be_visible()
    assert axe_violations(desk) == []
    shoot(desk, "watch-hidden")
    expect(page.locator("body")).to_have_attribute("data-state", "idle")
    expect(page.locator("#messages")).not_to_contain_text("The first part")


def test_a_grant_that_ends_leads_to_the_page_that_opens_the_conversation(
    visit: Visit,
    olga: Member,
    history: None,
    writing: tuple[Page, str],
) -> None:
    page, run = writing
    desk = visit(olga, expect_faults=["status of 403"])
    open_it(desk, page)
    desk.goto(f"/admin/watch/{run}/")
    expect(desk.locator("#watched .prose")).to_contain_text("The first part")
    other = desk.context.new_page()
    other.goto(f"/admin/chat/conversation/{conversation_of(page)}/change/")
    other.get_by_role("button", name="End", exact=True).click()
    desk.wait_for_url("**/admin/open/**")
    expect(desk.get_by_text("The first part")).to_have_count(0)


def test_without_scripts_the_page_shows_the_reply_so_far_and_a_link_that_loads_more(
    visit: Visit,
    olga: Member,
    history: None,
    writing: tuple[Page, str],
) -> None:
    page, run = writing
    open_it(visit(olga), page)
    desk = visit(olga, java_script_enabled=False)
    desk.goto(f"/admin/watch/{run}/")
    expect(desk.locator("#watched .prose")).to_contain_text("The first part")
    desk.get_by_role("link", name="Load this page again").click()
    expect(desk.locator("#watched .prose")).to_contain_text("The first part")
    desk.get_by_label("It is wrong or misleading").focus()  # the browser does not scroll to click by itself
    desk.keyboard.press("Space")
    desk.keyboard.press("Enter")
    expect(desk.get_by_text("The reply is stopped.")).to_be_visible()
    expect(desk.get_by_text("This reply has ended.")).to_be_visible()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("device", [{}, PHONE], ids=["wide", "phone"])
def test_the_first_page_and_the_figures_are_accessible(
    visit: Visit,
    olga: Member,
    history: None,
    scheme: Scheme,
    device: dict[str, Any],
) -> None:
    desk = visit(olga, color_scheme=scheme, **device)
    desk.goto("/admin/")
    expect(desk.get_by_role("heading", name="Open items")).to_be_visible()
    assert axe_violations(desk) == []
    assert fits(desk)
    shoot(desk, f"start-{scheme}-{'phone' if device else 'wide'}")
    desk.get_by_role("link", name="Figures of the review queue").click()
    expect(desk.get_by_role("img")).to_have_count(3)
    expect(desk.locator("#moderators")).to_contain_text("=stella")
    expect(desk.locator("body")).not_to_contain_text("secret")
    assert axe_violations(desk) == []
    assert fits(desk)
    shoot(desk, f"figures-{scheme}-{'phone' if device else 'wide'}")


def test_the_export_is_a_file(visit: Visit, olga: Member, history: None) -> None:
    desk = visit(olga)
    desk.goto("/admin/moderation/figures/")
    with desk.expect_download() as started:
        desk.get_by_role("button", name="Export as CSV").click()
    assert started.value.suggested_filename == "review-items.csv"
    text = started.value.path().read_text(encoding="utf-8-sig")
    assert ",'=stella\n" in text
    assert "secret" not in text
