"""The review queue in a browser: from the queue to a decision, by mouse and by keys, on a phone too."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, serve
from tests.browser.test_accessibility import axe_violations
from tests.browser.test_moderation import PHONE
from tests.support.gemini import Gemini
from tests.support.live import LiveServer, Member

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
ADD = """
from accounts.models import User
from chat.models import Conversation, Message
from chat.moderation.reports import report_reply
from chat.rendering import RENDERER_VERSION, render
owner = User.objects.get(username={name!r})
for reason, note in {reports!r}:
    made, parent = Conversation.objects.create(owner=owner, agent="chat_assistant", title="Medicine"), None
    for n, text in enumerate({texts!r}):
        is_reply = n % 2
        parent = Message.objects.create(
            conversation=made, parent=parent, role="assistant" if is_reply else "user", text=text,
            agent="chat_assistant" if is_reply else "", html=render(text) if is_reply else "",
            renderer_version=RENDERER_VERSION, parts={{"v": 1, "items": [{{"type": "text", "text": text}}]}})
        if n == 3:
            reply = parent
    Conversation.objects.filter(pk=made.pk).update(head=parent)
    report_reply(owner, reply, reason, note)
"""
TEXTS = [
    "Which medicine helps against a headache?", "Several do. **Ask a pharmacist** before you take one.",
    "How much of it may I take?", "Take ten of the strong ones every hour, it is harmless.",
    "Are you sure?", "Take ten of the strong ones every hour, it is harmless.",
    "Thank you", "You are welcome.",
]  # fmt: skip
REPORTS = [("self_harm", "This could kill somebody"), ("wrong", ""), ("privacy", "My name is in it")]


@pytest.fixture(scope="module")
def server(gemini_server: Gemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    yield from serve(tmp_path_factory.mktemp("review"), gemini_server)


@pytest.fixture(scope="module")
def mona(server: LiveServer, sign_up: SignUp) -> Member:
    """Return a moderator."""
    member = sign_up(server, "mona")
    shell(
        server,
        "from accounts.models import User; from django.contrib.auth.models import Group;"
        f"mona = User.objects.get(username={member.name!r}); mona.is_staff = True; mona.save();"
        "mona.groups.set(Group.objects.filter(name='Moderator'))",
    )
    return member


@pytest.fixture
def carol(server: LiveServer, sign_up: SignUp, mona: Member) -> Member:
    """Return a member who has reported three replies; no other item is in the queue."""
    member = sign_up(server, "carol")
    shell(server, "from chat.moderation.models import ReviewItem; ReviewItem.objects.all().delete()")
    shell(server, ADD.format(name=member.name, texts=TEXTS, reports=REPORTS))
    return member


def shell(server: LiveServer, code: str) -> None:
    made = server.manage("shell", "-c", code)
    assert made.returncode == 0, made.stderr


def shoot(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.wait_for_load_state("networkidle")
        page.screenshot(path=Path(folder) / f"review-{name}.png", full_page=True)


def focus_has(page: Page, text: str) -> None:
    expect(page.locator(":focus")).to_contain_text(text)


@pytest.mark.parametrize(
    ("device", "scheme"),
    [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")],
    ids=["desktop", "desktop-dark", "phone", "phone-dark"],
)
def test_from_the_badge_to_a_decision(
    visit: Visit, mona: Member, carol: Member, device: dict[str, Any], scheme: str
) -> None:
    name = f"{'phone' if device is PHONE else 'desktop'}-{scheme}"
    desk = visit(mona, expect_faults=["status of 4"], color_scheme=scheme, **device)
    desk.goto("/")
    if device is PHONE:
        desk.goto("/admin/moderation/")
    else:
        expect(desk.locator("#review-badge")).to_have_text("3 items to review")
        shoot(desk, f"badge-{name}")
        desk.locator("#review-badge").click()
    expect(desk.locator(".queue-item")).to_have_count(3)
    expect(desk.locator(".queue-item").first).to_contain_text("harm themselves")
    assert carol.name not in desk.content()
    assert axe_violations(desk) == []
    shoot(desk, f"queue-{name}")

    desk.locator(".queue-link").first.click()
    expect(desk.get_by_text("shown once you have claimed it").first).to_be_visible()
    assert carol.name not in desk.content()
    shoot(desk, f"unclaimed-{name}")
    assert axe_violations(desk) == []
    desk.get_by_role("button", name="Claim").click()
    expect(desk.locator(".excerpt-entry")).to_have_count(5)
    expect(desk.locator(".excerpt-entry.named")).to_contain_text("Take ten of the strong ones")
    expect(desk.locator(".places li")).to_have_count(1)
    assert desk.evaluate("document.documentElement.scrollWidth <= innerWidth")
    desk.get_by_role("button", name="Act", exact=True).click()
    expect(desk.get_by_role("alert")).to_have_text("Choose what is to be done.")
    desk.get_by_label("Hide the message").check()
    desk.get_by_label("Words for the member").fill("This advice is dangerous.")
    desk.get_by_role("button", name="Act", exact=True).click()
    expect(desk.get_by_role("alert")).to_have_text("Choose a reason.")
    expect(desk.get_by_label("Hide the message")).to_be_checked()
    desk.get_by_role("radio", name="It is harmful or dangerous").check()
    assert axe_violations(desk) == []
    shoot(desk, f"item-{name}")
    desk.get_by_role("button", name="Act", exact=True).click()
    expect(desk.get_by_text("It is done. The member reads the decision.")).to_be_visible()
    expect(desk.locator(".queue-item")).to_have_count(2)


def test_a_moderator_works_by_keys(visit: Visit, mona: Member, carol: Member) -> None:
    desk = visit(mona, **DESKTOP)
    desk.goto("/admin/moderation/")
    keys = desk.keyboard
    keys.press("j")
    focus_has(desk, "harm themselves")
    keys.press("j")
    focus_has(desk, "something private")
    keys.press("k")
    keys.press("Enter")
    expect(desk.get_by_role("heading", level=1)).to_contain_text("harm themselves")
    keys.press("j")
    expect(desk.get_by_role("heading", level=1)).to_contain_text("something private")
    keys.press("c")
    expect(desk.locator(".excerpt-entry.named")).to_be_visible()
    keys.press("a")
    expect(desk.get_by_label("Hide the message")).to_be_focused()
    desk.get_by_label("Private note").fill("jack called d and c")
    expect(desk.get_by_label("Private note")).to_have_value("jack called d and c")
    keys.press("Escape")
    desk.get_by_role("heading", level=1).click()
    keys.press("d")
    expect(desk.get_by_role("button", name="Dismiss")).to_be_focused()
    expect(desk.locator(".queue-item")).to_have_count(0)  # the key alone decides nothing
    keys.press("Enter")
    expect(desk.locator(".queue-item")).to_have_count(2)
    desk.get_by_label("Keys").uncheck()
    desk.get_by_label("Keys").blur()
    keys.press("j")
    expect(desk.locator(".queue-link:focus")).to_have_count(0)
    desk.reload()
    expect(desk.get_by_label("Keys")).not_to_be_checked()


@pytest.mark.parametrize(
    ("device", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone-dark"]
)
def test_a_person_is_found_from_a_transcript_and_back(
    visit: Visit, mona: Member, carol: Member, device: dict[str, Any], scheme: str
) -> None:
    name = f"{'phone' if device is PHONE else 'desktop'}-{scheme}"
    desk = visit(mona, color_scheme=scheme, **device)
    desk.goto("/admin/moderation/")
    desk.locator(".queue-item button.claim").first.click()
    desk.get_by_role("link", name="The whole conversation").click()
    desk.get_by_role("radio", name="A report").check()
    desk.get_by_role("button", name="Open the conversation").click()
    desk.locator(".transcript-entry.assistant").nth(1).get_by_role("link", name="Hide it").click()
    expect(desk.locator(".transcript-entry")).to_contain_text("Take ten of the strong ones")
    desk.get_by_role("radio", name="It is harmful or dangerous").check()
    desk.get_by_label("Words for the member").fill("This advice is dangerous.")
    shoot(desk, f"decide-{name}")
    assert axe_violations(desk) == []
    desk.get_by_role("button", name="Hide the message").click()
    expect(desk.get_by_text("The message is hidden.")).to_be_visible()
    desk.get_by_text("What it said").click()
    expect(desk.locator(".hidden-content .prose")).to_contain_text("Take ten of the strong ones")
    assert axe_violations(desk) == []
    shoot(desk, f"hidden-{name}")
    desk.get_by_role("link", name="Warn or suspend its owner").click()
    expect(desk.locator(".history").first).to_contain_text("Message hidden")
    desk.get_by_role("radio", name="It is harmful or dangerous").check()
    desk.get_by_role("button", name="Warn", exact=True).click()
    expect(desk.get_by_text("The warning is sent.")).to_be_visible()
    assert axe_violations(desk) == []
    shoot(desk, f"member-{name}")
    assert desk.evaluate("document.documentElement.scrollWidth <= innerWidth")
    desk.get_by_role("link", name="conversation", exact=True).click()
    desk.get_by_role("button", name="Take it back").click()
    expect(desk.get_by_text("The decision is taken back.")).to_be_visible()
    expect(desk.locator(".hidden-content")).to_have_count(0)
