"""Decisions of moderators on the open page of their member: hidden, locked, suspended, warned."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, shown_texts, wait_until_idle
from tests.browser.seeds import long_conversation
from tests.browser.test_accessibility import DESKTOP, PHONE, axe_violations
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer, Member

SECOND = 2000  # ms; on a busy machine the page has twice the time that it promises
RUN = "0190b3a0-0000-7000-8000-000000000001"
TOMBSTONE = "A moderator has hidden this message."


@pytest.fixture
def maya(server: LiveServer, sign_up: SignUp) -> Member:
    return sign_up(server, "maya")


def decide(server: LiveServer, code: str) -> None:
    """Store a decision, in another process, with the helpers of tests/support/moderated.py."""
    names = (
        "from tests.support.moderated import *; from chat.models import *; from accounts.models import User"
    )
    done = server.manage("shell", "-v0", "-c", f"{names}\n{code}")
    assert done.returncode == 0, done.stderr


def hide(server: LiveServer, page: Page, role: str, place: int = 0, **fields: Any) -> None:
    found = f"Message.objects.filter(conversation={conversation_of(page)!r}, role={role!r})"
    decide(server, f"hide({found}.order_by('created_at')[{place}].pk, **{fields!r})")


def of(member: Member) -> str:
    return f"User.objects.get(username={member.name!r})"


def answered(page: Page, *questions: str) -> None:
    page.goto("/")
    for question in questions:
        ask(page, question)
        wait_until_idle(page)


def shoot(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.wait_for_timeout(300)
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_an_open_page_shows_a_tombstone_and_keeps_the_draft(
    visit: Visit, server: LiveServer, maya: Member, gemini: Gemini
) -> None:
    gemini.on("one", [Text("canary quokka")])
    page = visit(maya)
    answered(page, "one", "two")
    page.get_by_label("Message", exact=True).fill("half a thou")
    hide(server, page, "assistant", words="It names your neighbour.")
    tombstone = page.locator("article.assistant .tombstone")
    expect(tombstone).to_contain_text(TOMBSTONE, timeout=SECOND)
    expect(tombstone).to_contain_text("It names your neighbour.")
    assert "quokka" not in page.content()
    assert shown_texts(page) == ["one", "two", "You said: two"]
    expect(page.get_by_label("Message", exact=True)).to_have_value("half a thou")
    expect(page.locator("article[data-hidden] button")).to_have_count(0)


def test_a_question_with_an_open_form_becomes_a_tombstone(
    visit: Visit, server: LiveServer, maya: Member, gemini: Gemini
) -> None:
    page = visit(maya)
    answered(page, "canary quokka")
    page.locator("article.user").hover()
    page.get_by_role("button", name="Edit").click()
    expect(page.locator(".edit-form")).to_have_count(1)
    hide(server, page, "user")
    expect(page.locator("article.user .tombstone")).to_have_count(1, timeout=SECOND)
    expect(page.locator(".edit-form")).to_have_count(0)


def test_an_earlier_message_becomes_a_tombstone_while_an_answer_is_written(
    visit: Visit, server: LiveServer, maya: Member, gemini: Gemini
) -> None:
    gemini.on("two", [Text("Once "), Hold(), Text("upon a time")])
    page = visit(maya)
    answered(page, "one")
    ask(page, "two")
    expect(page.locator("article.live .prose")).to_have_text("Once")
    hide(server, page, "assistant")
    expect(page.locator("article.assistant .tombstone")).to_have_count(1, timeout=SECOND)
    expect(page.locator("article.live .prose")).to_have_text("Once")
    gemini.release()
    wait_until_idle(page)
    assert shown_texts(page) == ["one", "two", "Once upon a time"]


def test_an_older_message_that_was_loaded_becomes_a_tombstone(
    visit: Visit, server: LiveServer, maya: Member
) -> None:
    path = long_conversation(server, maya.name, 60)
    page = visit(maya)
    with page.expect_websocket():
        page.goto(path)
    while page.get_by_text("message 0", exact=True).count() == 0:
        page.locator("#main").evaluate("(main) => main.scrollTo(0, 0)")
        page.wait_for_timeout(50)
    page.get_by_label("Message", exact=True).fill("half a thou")
    hide(server, page, "assistant")
    expect(page.locator("article.assistant .tombstone")).to_have_count(1, timeout=SECOND)
    expect(page.locator("article")).to_have_count(60)
    expect(page.get_by_label("Message", exact=True)).to_have_value("half a thou")


def test_an_answer_that_is_hidden_while_it_is_written_leaves_no_empty_bubble(
    visit: Visit, server: LiveServer, maya: Member, gemini: Gemini
) -> None:
    gemini.on("go", [Text("canary quokka"), Hold()])
    page = visit(maya, expect_faults=["ERR_FAILED"])
    page.goto("/")
    ended = {"message": None, "code": "moderated", "detail": "A moderator stopped this answer."}
    frames: list[tuple[int, str, dict[str, Any]]] = [
        (1, "run.started", {"run": RUN, "conversation": RUN, "agent": "chat_assistant", "title": "go"}),
        (2, "html", {"from": 0, "closed": ["<p>canary quokka</p>"], "keep": 0, "open": ""}),
        (3, "replace", {"text": ""}),
        (3, "html", {"from": 0, "closed": [], "keep": 0, "open": ""}),
        (4, "run.stopped", ended),
    ]
    # Without [DONE], and without a page to update from: the connection is lost then.
    body = "retry: 2000\n" + "".join(
        f"id: {RUN}:{seq}\nevent: {name}\ndata: {json.dumps(data)}\n\n" for seq, name, data in frames
    )
    answer = {"status": 200, "content_type": "text/event-stream", "body": body}
    page.route("**/chat/stream?view=html", lambda route: route.fulfill(**answer))
    page.route(f"**/chat/{RUN}/", lambda route: route.abort())
    page.route("**/chat/runs/**", lambda route: route.abort())
    ask(page, "go")
    expect(page.locator("article.live .tombstone")).to_have_text("A moderator stopped this answer.")
    expect(page.locator("article.live .prose")).to_be_empty()
    expect(page.locator("article.live .reply-waiting")).to_have_count(0)
    shoot(page, "live-hidden")


def test_a_moderated_stop_is_shown_at_the_end_of_the_answer(
    visit: Visit, server: LiveServer, maya: Member, gemini: Gemini
) -> None:
    gemini.on("go", [Text("Once "), Hold(), Text("never")])
    page = visit(maya)
    page.goto("/")
    ask(page, "go")
    expect(page.locator("article.live .prose")).to_have_text("Once")
    decide(server, f"stop(Run.objects.get(conversation={conversation_of(page)!r}).pk)")
    wait_until_idle(page)
    expect(page.locator(".run-outcome")).to_contain_text("A moderator stopped this answer.")
    expect(page.get_by_role("button", name="Regenerate")).to_have_count(0)


def test_a_lock_closes_the_message_field_of_an_open_page_and_an_unlock_opens_it(
    visit: Visit, server: LiveServer, maya: Member
) -> None:
    page = visit(maya)
    answered(page, "one")
    field = page.get_by_label("Message", exact=True)
    field.fill("half a thou")
    decide(server, f"lock({conversation_of(page)!r}, words='Rule 1.')")
    notice = page.locator("#standing")
    expect(notice).to_contain_text("A moderator has locked this conversation.", timeout=SECOND)
    expect(notice).to_contain_text("Rule 1.")
    expect(field).to_be_hidden()
    expect(page.get_by_role("button", name="Send")).to_be_hidden()
    expect(page.get_by_role("button", name="Edit")).to_have_count(0)
    decide(server, f"unlock({conversation_of(page)!r})")
    expect(field).to_be_visible(timeout=SECOND)
    expect(field).to_have_value("half a thou")
    expect(notice).not_to_contain_text("locked")


def test_a_lock_stops_the_answer_and_closes_the_message_field(
    visit: Visit, server: LiveServer, maya: Member, gemini: Gemini
) -> None:
    gemini.on("go", [Text("Once "), Hold(), Text("never")])
    page = visit(maya)
    page.goto("/")
    ask(page, "go")
    expect(page.locator("article.live .prose")).to_have_text("Once")
    decide(server, f"lock({conversation_of(page)!r})")
    expect(page.get_by_label("Message", exact=True)).to_be_hidden(timeout=SECOND)
    wait_until_idle(page)
    expect(page.locator(".run-outcome")).to_contain_text("A moderator stopped this answer.")
    expect(page.locator("#composer")).to_be_hidden()


def test_a_suspension_closes_the_message_field_of_every_page(
    visit: Visit, server: LiveServer, maya: Member
) -> None:
    page = visit(maya)
    answered(page, "one")
    other = page.context.new_page()
    with other.expect_websocket():
        other.goto("/")
    decide(server, f"suspend({of(maya)})")
    for tab in (page, other):
        expect(tab.locator("#standing")).to_contain_text("Your account is suspended until", timeout=SECOND)
        expect(tab.get_by_label("Message", exact=True)).to_be_hidden()
    expect(other.locator(".suggestions")).to_be_hidden()


@pytest.mark.parametrize(
    ("decision", "sentence"),
    [
        ("User.objects.filter(username={name!r}).update(suspended_until='2099-01-01T00:00Z')", "suspended"),
        ("Conversation.objects.filter(pk={conversation!r}).update(locked_at='2026-01-01T00:00Z')", "locked"),
    ],
)
def test_an_ask_that_is_refused_shows_the_sentence_and_the_notice(
    visit: Visit, server: LiveServer, maya: Member, decision: str, sentence: str
) -> None:
    page = visit(maya, expect_faults=["403", "423"])
    answered(page, "one")
    decide(server, decision.format(name=maya.name, conversation=conversation_of(page)))  # not announced
    ask(page, "two")
    expect(page.locator("#notice")).to_contain_text(sentence)
    expect(page.locator("#standing")).to_contain_text(sentence)
    assert shown_texts(page) == ["one", "You said: one"]
    assert page.locator("#query").input_value() == "two"


def test_a_warning_that_is_refused_shows_its_sentence(visit: Visit, server: LiveServer, maya: Member) -> None:
    page = visit(maya, expect_faults=["409"])
    answered(page, "one")
    refusal = '{"error": {"code": "warning", "detail": "Read the warning first."}}'
    answer = {"status": 409, "content_type": "application/json", "body": refusal}
    page.route("**/chat/stream?view=html", lambda route: route.fulfill(**answer))
    decide(server, f"warn({of(maya)})")
    expect(page.locator("#standing")).to_contain_text("A moderator has warned you.", timeout=SECOND)
    ask(page, "two")
    expect(page.locator("#notice")).to_have_text("Read the warning first.")
    expect(page.get_by_label("Message", exact=True)).to_have_value("two")


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_on_moderated_pages(
    visit: Visit, server: LiveServer, sign_up: SignUp, gemini: Gemini, device: dict[str, Any]
) -> None:
    member = sign_up(server, "mina")
    page = visit(member)
    answered(page, "one", "two", "three")
    hide(server, page, "user", 1, reason="privacy", words="It names your neighbour.")
    hide(server, page, "assistant", 0, reason="illegal", words="")
    states = {
        "locked": f"lock({conversation_of(page)!r}, words='Rule 1: no plans for explosives, see the rules.')",
        "suspended": f"suspend({of(member)}); unlock({conversation_of(page)!r})",
        "warned": f"end_suspension({of(member)}); warn({of(member)})",
    }
    shown = visit(member, **device)
    for state, decision in states.items():
        decide(server, decision)
        shown.goto(page.url)
        shown.wait_for_load_state()
        for scheme in ("light", "dark"):
            shown.emulate_media(color_scheme=scheme)
            shoot(shown, f"{state}-{scheme}-{'phone' if device is PHONE else 'desktop'}")
            assert (state, scheme, axe_violations(shown)) == (state, scheme, [])
