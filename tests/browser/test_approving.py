"""The page /waiting/: approvers decide by mouse, by keyboard or without scripts; it follows what changes."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SignUp, Visit
from tests.browser.test_accessibility import axe_violations
from tests.browser.test_waiting import BANK
from tests.support.gemini import Call, Gemini, Text
from tests.support.live import LiveServer, Member

FINANCE = """
from django.contrib.auth.models import Group
from accounts.models import User
group, _new = Group.objects.get_or_create(name="Finance")
group.user_set.add(User.objects.get(username="carol"))
"""


@pytest.fixture(scope="module")
def finance_server(gemini_server: Gemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("agents")
    (folder / "bank.py").write_text(BANK)
    server = LiveServer(
        tmp_path_factory.mktemp("parley-finance"),
        GOOGLE_API_KEY="not-a-key",
        GOOGLE_GEMINI_BASE_URL=gemini_server.url,
        AGENTS_DIR=str(folder),
        APPROVERS='{"bank": {"transfer_money": "Finance", "book_leave": "Finance"}}',
        LIMITS="off",
    )
    yield server.prepare().start()
    server.kill()


@pytest.fixture(scope="module")
def dora(finance_server: LiveServer, sign_up: SignUp) -> Member:
    return sign_up(finance_server, "dora")


@pytest.fixture(scope="module")
def carol(finance_server: LiveServer, sign_up: SignUp) -> Member:
    member = sign_up(finance_server, "carol")
    finance_server.manage("shell", "-c", FINANCE)
    return member


def asks(dora: Member, gemini: Gemini, question: str, call: Call) -> str:
    """Ask as dora, and return the conversation, whose reply waits for Finance."""
    gemini.on(question, [Text("I look."), call], [Text("Done.")])
    with dora.ask(question, agent="bank") as stream:
        return str(stream.all_events()[0].json()["conversation"])


def test_the_page_follows_what_waits(visit: Visit, carol: Member, dora: Member, gemini: Gemini) -> None:
    page = visit(carol)
    page.goto("/waiting/")
    expect(page.get_by_role("status")).to_have_text("Nothing waits for you.")
    asks(dora, gemini, "Follow.", Call("transfer_money", {"amount": 5, "to": "Bob"}))
    card = page.get_by_role("form", name="May the agent use transfer_money?")
    expect(card).to_contain_text("dora asked Bank")
    expect(page.get_by_role("status")).to_have_text("1 request waits.")
    other = visit(carol)
    other.goto("/")
    link = other.get_by_role("link", name="Waiting for your decision 1")
    expect(link).to_be_visible()
    card.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("status")).to_have_text("Nothing waits for you.")
    expect(other.locator(".waiting-count")).to_have_count(0)


def test_an_approver_decides_with_the_keyboard(
    visit: Visit, carol: Member, dora: Member, gemini: Gemini
) -> None:
    conversation = asks(dora, gemini, "Keys.", Call("book_leave", {"days": 5}))
    page = visit(carol)
    page.goto("/waiting/")
    field = page.get_by_label("days", exact=True)
    field.fill("3")
    field.press("Enter")
    expect(field).to_have_value("3")
    assert page.url.endswith("/waiting/")
    page.get_by_role("button", name="Reject").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Approve")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Nothing waits for you.")
    theirs = visit(dora)
    theirs.goto(f"/chat/{conversation}/")
    expect(theirs.locator("article.user .bubble").last).to_have_text(
        "Approved by carol, asked by dora: book_leave"
    )


def test_an_approver_decides_on_a_phone_without_scripts(
    visit: Visit, carol: Member, dora: Member, gemini: Gemini
) -> None:
    asks(dora, gemini, "Phone.", Call("transfer_money", {"amount": 7}))
    page = visit(carol, java_script_enabled=False, viewport={"width": 390, "height": 844})
    page.goto("/waiting/")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("Nothing waits for you.")).to_be_visible()


def test_the_asker_has_no_buttons(visit: Visit, carol: Member, dora: Member, gemini: Gemini) -> None:
    conversation = asks(dora, gemini, "No buttons.", Call("transfer_money", {"amount": 5}))
    page = visit(dora)
    page.goto(f"/chat/{conversation}/")
    card = page.get_by_role("region", name="May the agent use transfer_money?")
    expect(card).to_contain_text("Waits for Finance")
    expect(card.get_by_role("button")).to_have_count(0)
    expect(page.get_by_role("link", name="Waiting for your decision")).to_have_count(0)
    assert axe_violations(page) == []
    others = visit(carol)
    others.goto("/waiting/")
    others.get_by_role("button", name="Reject").click()
    expect(card).to_have_count(0)  # the asker's page hears of it
    expect(page.locator("article.user .bubble").last).to_contain_text("Rejected by carol")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(
    scheme: str, visit: Visit, carol: Member, dora: Member, gemini: Gemini
) -> None:
    asks(dora, gemini, f"Axe {scheme}.", Call("book_leave", {"days": 5}))
    page = visit(carol, color_scheme=scheme, viewport={"width": 390, "height": 844})
    page.goto("/waiting/")
    assert axe_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_only_the_group_decides(
    finance_server: LiveServer, sign_up: SignUp, carol: Member, dora: Member, gemini: Gemini
) -> None:
    eve = sign_up(finance_server, "eve")
    conversation = asks(dora, gemini, "Only.", Call("transfer_money", {"amount": 5}))
    request = dora.http.get(f"/api/v1/conversations/{conversation}").json()["waiting"][0]["id"]
    path, body = f"/api/v1/requests/{request}/decision", {"decision": "reject"}

    def decides(member: Member) -> int:
        return member.http.post(path, json=body, headers=member.headers()).status_code

    assert (decides(eve), decides(dora)) == (404, 403)
    answers = {"conversation": conversation, "answers": [{"id": request, **body}]}
    assert dora.http.post("/chat/stream", json=answers, headers=dora.headers()).status_code == 403
    assert decides(carol) == 200
