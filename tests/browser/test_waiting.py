"""Requests that wait for a person, on the page: cards, decided by mouse, keyboard, or without scripts."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, serve_agents, wait_until_idle
from tests.browser.test_accessibility import axe_violations
from tests.support.gemini import Call, Gemini, Hold, Text
from tests.support.live import LiveServer, Member
from tests.support.waiting import until

BANK = '''
import asyncio, pathlib
from google.adk.agents import Agent
from google.adk.tools import FunctionTool, ToolContext, get_user_choice, request_input

HOLD = pathlib.Path(__file__).parent / "hold"

async def send_slowly(amount: int) -> dict:
    """Sends money slowly."""
    while HOLD.exists():
        HOLD.with_name("reached").touch()
        await asyncio.sleep(0.02)
    return {"sent": amount}

def transfer_money(amount: int, to: str = "") -> dict:
    """Transfers money."""
    return {"sent": amount}

def book_leave(days: int, tool_context: ToolContext) -> dict:
    """Books days of leave, after a manager has agreed to some of them."""
    if not tool_context.tool_confirmation:
        payload = {"days": days, "paid": True}
        tool_context.request_confirmation(hint="How many days may it be?", payload=payload)
        return {"status": "asked"}
    return {"booked": tool_context.tool_confirmation.payload}

confirmed = FunctionTool(transfer_money, require_confirmation=True)
slow = FunctionTool(send_slowly, require_confirmation=True)
root_agent = Agent(
    name="bank",
    model="gemini-2.5-flash",
    tools=[confirmed, slow, book_leave, get_user_choice, request_input],
)
'''


@pytest.fixture(scope="module")
def bank_server(gemini_server: Gemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("agents")
    (folder / "bank.py").write_text(BANK)
    yield from serve_agents(folder, tmp_path_factory.mktemp("parley-bank"), gemini_server)


@pytest.fixture(scope="module")
def carol(bank_server: LiveServer, sign_up: SignUp) -> Member:
    return sign_up(bank_server, "carol")


def ask_bank(page: Page, question: str) -> None:
    page.goto("/")
    page.get_by_label("Agent").select_option("bank")
    ask(page, question)
    wait_until_idle(page)


def test_a_person_approves_with_the_mouse(visit: Visit, carol: Member, gemini: Gemini) -> None:
    gemini.on(
        "Pay Bob.", [Text("I look."), Call("transfer_money", {"amount": 5, "to": "Bob"})], [Text("Sent.")]
    )
    page = visit(carol)
    ask_bank(page, "Pay Bob.")
    card = page.get_by_role("group", name="May the agent use transfer_money?")
    expect(card.get_by_label("Arguments")).to_contain_text('"amount": 5')
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    card.get_by_role("button", name="Approve").click()
    wait_until_idle(page)
    expect(card).to_have_count(0)
    expect(page.locator("article.user .bubble").last).to_have_text("Approved: transfer_money")
    expect(page.locator("article.assistant .prose").last).to_have_text("Sent.")


def test_a_person_rejects_with_the_keyboard(visit: Visit, carol: Member, gemini: Gemini) -> None:
    gemini.on("Pay Eve.", [Call("transfer_money", {"amount": 7, "to": "Eve"})], [Text("Then not.")])
    page = visit(carol)
    ask_bank(page, "Pay Eve.")
    press_shift_tab_to(page, "Reject")
    page.keyboard.press("Enter")
    wait_until_idle(page)
    expect(page.locator("article.user .bubble").last).to_have_text("Rejected: transfer_money")
    expect(page.locator("article.assistant .prose").last).to_have_text("Then not.")


def test_enter_in_a_field_approves_nothing(visit: Visit, carol: Member, gemini: Gemini) -> None:
    gemini.on("Leave.", [Call("book_leave", {"days": 5})], [Text("I asked.")], [Text("Booked.")])
    page = visit(carol)
    ask_bank(page, "Leave.")
    field = page.get_by_label("days", exact=True)
    field.fill("3")
    field.press("Enter")
    page.wait_for_timeout(500)
    expect(field).to_have_value("3")
    page.get_by_label("paid").uncheck()
    page.get_by_role("button", name="Approve").click()
    wait_until_idle(page)
    outcome = page.locator("article.assistant").last.locator(".tool-outcome").first
    assert json.loads(outcome.text_content() or "") == {"booked": {"days": 3, "paid": False}}


def test_a_question_is_answered_on_a_phone_without_scripts(
    visit: Visit, carol: Member, gemini: Gemini
) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "when": {"type": "string", "enum": ["now", "later"]}},
        "required": ["city"],
    }
    asks = Call("adk_request_input", {"message": "Which city?", "response_schema": schema})
    gemini.on("Weather?", [asks], [Text("It rains.")])
    with carol.ask("Weather?", agent="bank") as stream:
        conversation = stream.all_events()[0].json()["conversation"]
    page = visit(carol, java_script_enabled=False, viewport={"width": 390, "height": 844})
    page.goto(f"/chat/{conversation}/")
    page.get_by_label("city", exact=True).fill("Lagos")
    page.get_by_label("when").select_option("later")
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.locator("article.assistant").last).to_contain_text("It rains.")
    results = [p for c in gemini.requests[-1]["contents"] for p in c["parts"] if "functionResponse" in p]
    assert results[-1]["functionResponse"]["response"] == {"city": "Lagos", "when": "later"}


def test_two_requests_are_sent_together(visit: Visit, carol: Member, gemini: Gemini) -> None:
    calls = [Call("transfer_money", {"amount": n}) for n in (1, 2)]
    gemini.on("Both.", calls, [Text("Half of it.")])
    page = visit(carol)
    ask_bank(page, "Both.")
    cards = page.get_by_role("group", name="May the agent use transfer_money?")
    cards.first.get_by_label("Approve").check()
    cards.last.get_by_label("Reject").check()
    page.get_by_role("button", name="Send the decisions").click()
    wait_until_idle(page)
    expect(page.locator("article.user .bubble").last).to_contain_text("Rejected: transfer_money")
    expect(page.locator("article.assistant .prose").last).to_have_text("Half of it.")


def test_what_is_approved_is_what_is_seen(visit: Visit, carol: Member, gemini: Gemini) -> None:
    gemini.on("Pay.", [Call("transfer_money", {"amount": 1, "to": "Bob\u202e\u200bevE"})])
    page = visit(carol)
    ask_bank(page, "Pay.")
    expect(page.get_by_label("Arguments")).to_contain_text("Bob\\u202e\\u200bevE")


def test_the_list_and_the_tab_say_that_something_waits(visit: Visit, carol: Member, gemini: Gemini) -> None:
    gemini.on("Mark.", [Call("transfer_money", {"amount": 1})], [Text("Marked.")])
    page = visit(carol)
    ask_bank(page, "Mark.")
    entry = page.locator(".conversation-entry").filter(has_text="Mark.").first
    expect(entry.get_by_text("waits for you")).to_have_count(1)
    assert page.title().startswith("❓ ")
    page.get_by_role("button", name="Approve").click()
    wait_until_idle(page)
    expect(entry.get_by_text("waits for you")).to_have_count(0)
    expect(page).not_to_have_title(re.compile("^❓"))


def test_the_card_is_accessible(visit: Visit, carol: Member, gemini: Gemini) -> None:
    gemini.on("Axe.", [Call("book_leave", {"days": 5})], [Text("I asked.")])
    page = visit(carol)
    ask_bank(page, "Axe.")
    assert axe_violations(page) == []


def press_shift_tab_to(page: Page, name: str) -> None:
    for _ in range(20):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.innerText") == name:
            return
    pytest.fail(f"{name} was not reached")


RECORD = """() => {
    window.said = [];
    const regions = document.querySelectorAll("#announcer, #alarm, #notice");
    for (const region of regions) {
        new MutationObserver(() => region.textContent.trim() && said.push(region.textContent.trim()))
            .observe(region, {childList: true, characterData: true, subtree: true});
    }
}"""


def test_a_screen_reader_user_approves(visit: Visit, carol: Member, gemini: Gemini) -> None:
    gemini.on("Pay Ada.", [Call("transfer_money", {"amount": 5, "to": "Ada"})], [Text("Sent.")])
    page = visit(carol)
    page.goto("/")
    page.get_by_label("Agent").select_option("bank")
    page.evaluate(RECORD)
    ask(page, "Pay Ada.")
    expect(page.locator(".request")).to_be_visible()
    wait_until_idle(page)
    page.keyboard.press("Control+.")
    expect(page.get_by_role("group", name="May the agent use transfer_money?")).to_be_focused()
    tree = page.get_by_role("group", name="May the agent use transfer_money?").aria_snapshot()
    names = []
    for _ in range(3):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.innerText"))
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant .prose").last).to_have_text("Sent.")
    wait_until_idle(page)
    expect(page.locator("#announcer")).to_have_text("The answer is complete.")
    assert names == ["Arguments", "Reject", "Approve"]
    assert tree.splitlines()[0] == '- group "May the agent use transfer_money?":'
    assert '- button "Approve"' in tree
    waits = "The agent waits for you. May the agent use transfer_money?"
    assert page.evaluate("said") == [
        "The answer is being written.",
        f"The answer is complete. {waits} Ctrl+Period goes there.",
        "Approved: transfer_money. The answer is being written.",
        "The answer is complete.",
    ]
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_a_card_leaves_the_focus_and_the_text_in_the_message_field(
    visit: Visit, carol: Member, gemini: Gemini
) -> None:
    gemini.on("Hold.", [Call("book_leave", {"days": 5})], [Hold(), Text("I asked.")])
    page = visit(carol)
    page.goto("/")
    page.get_by_label("Agent").select_option("bank")
    ask(page, "Hold.")
    step = page.locator(".tool-step").filter(has_text="book_leave")
    expect(step.locator(".tool-state")).to_have_text("asks you first")
    expect(page.locator(".tool-step")).to_have_count(1)
    page.get_by_label("Message", exact=True).fill("half a sen")
    gemini.release()
    expect(page.locator(".request")).to_be_visible()
    wait_until_idle(page)
    page.keyboard.type("tence")
    expect(page.get_by_label("Message", exact=True)).to_have_value("half a sentence")
    expect(step.locator(".tool-state")).to_have_text("asks you first")


def test_the_transcript_says_what_happened_to_each_request(
    visit: Visit, carol: Member, gemini: Gemini, bank_server: LiveServer
) -> None:
    pay = [Call("transfer_money", {"amount": 9})]
    gemini.on("First.", pay, [Text("Sent.")])
    gemini.on("Second.", pay, [Text("Then not.")])
    gemini.on("Third.", pay)
    gemini.on("Other.", [Text("Yes.")], [Text("Yes.")])
    page = visit(carol)
    ask_bank(page, "First.")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("article.assistant .prose").last).to_have_text("Sent.")
    wait_until_idle(page)
    for question, answer in (("Second.", "Then not."), ("Third.", "Yes.")):
        ask(page, question)
        expect(page.locator(".request")).to_be_visible()
        wait_until_idle(page)
        if question == "Second.":
            page.get_by_role("button", name="Reject").click()
        else:
            ask(page, "Other.")
        expect(page.locator("article.assistant .prose").last).to_have_text(answer)
        wait_until_idle(page)
    said = [
        "transfer_money Approved",
        "transfer_money Rejected",
        "transfer_money Not answered: another message came instead. It was not done.",
    ]
    outcomes = page.locator(".request-outcomes summary")
    expect(outcomes).to_have_text(said)
    page.reload()
    expect(outcomes).to_have_text(said)
    outcomes.first.click()
    expect(page.get_by_label("Arguments").first).to_contain_text('"amount": 9')
    assert axe_violations(page) == []


def test_an_expired_request_is_shown_as_not_answered(
    visit: Visit, carol: Member, gemini: Gemini, bank_server: LiveServer
) -> None:
    gemini.on("Late.", [Call("transfer_money", {"amount": 9})])
    page = visit(carol)
    ask_bank(page, "Late.")
    expire = """
from django.utils import timezone
from chat.models import PersonRequest
PersonRequest.objects.filter(run__conversation=%r).update(expires_at=timezone.now())
"""
    bank_server.manage("shell", "-c", expire % conversation_of(page))
    page.reload()
    expect(page.locator(".request")).to_have_count(0)
    expect(page.locator(".request-outcomes")).to_contain_text("Not answered in time. It was not done.")


def test_a_call_in_doubt_is_shown_with_a_question_to_the_agent(
    visit: Visit, sign_up: SignUp, gemini_server: Gemini, gemini: Gemini, tmp_path: Path
) -> None:
    agents = tmp_path / "agents"
    agents.mkdir()
    (agents / "bank.py").write_text(BANK)
    gemini.on("Pay slowly.", [Call("send_slowly", {"amount": 5})], [Text("Sent.")])
    server = LiveServer(
        tmp_path,
        AGENTS_DIR=str(agents),
        GOOGLE_API_KEY="not-a-key",
        GOOGLE_GEMINI_BASE_URL=gemini_server.url,
        LIMITS="off",
    )
    server.prepare().start()
    try:
        page = visit(sign_up(server, "dora"), expect_faults=["ERR_", "WebSocket", "Failed to load"])
        ask_bank(page, "Pay slowly.")
        (agents / "hold").touch()
        page.get_by_role("button", name="Approve").click()
        until((agents / "reached").exists)
        server.kill()
        (agents / "hold").unlink()
        server.start()
        doubt = page.get_by_role("region", name="It is not known whether this was done")
        expect(doubt).to_contain_text("It may have run: send_slowly", timeout=60_000)
        expect(doubt.get_by_label("Arguments")).to_contain_text('"amount": 5')
        wait_until_idle(page)
        shown = doubt.inner_text()
        assert axe_violations(page) == []
        page.reload()
        assert doubt.inner_text() == shown
        expect(page.locator(".request-outcomes")).to_contain_text("It may have run")
        page.wait_for_load_state()
        page.get_by_label("Message", exact=True).fill("By the way:")
        doubt.get_by_role("button", name="Ask the agent again").click()
        expect(page.get_by_label("Message", exact=True)).to_have_value(
            "By the way:\nsend_slowly was approved, and its result is not known. Check whether it was done,"
            " and do it again only if it was not."
        )
        expect(page.locator("article.user")).to_have_count(2)
    finally:
        server.kill()


def test_a_refused_decision_says_why_and_keeps_what_was_typed(
    visit: Visit, carol: Member, gemini: Gemini
) -> None:
    schema = {"type": "object", "properties": {"tags": {"type": "array"}, "note": {"type": "string"}}}
    asks = Call("adk_request_input", {"message": "Which tags?", "response_schema": schema})
    gemini.on("Tags.", [asks], [Text("Tagged.")])
    page = visit(carol, expect_faults=["422"])
    ask_bank(page, "Tags.")
    page.get_by_role("textbox", name="tags").fill("[1, ")
    page.get_by_label("note").fill("mine")
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="“tags” is no JSON.")).to_be_visible()
    expect(page.get_by_label("note")).to_have_value("mine")
    page.get_by_role("textbox", name="tags").fill("[1]")
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.locator("article.assistant .prose").last).to_have_text("Tagged.")


def test_a_form_of_200_fields_is_answered_on_a_phone(visit: Visit, carol: Member, gemini: Gemini) -> None:
    properties: dict[str, Any] = {f"field {n}": {"type": "string"} for n in range(200)}
    properties["kind"] = {"$ref": "#/$defs/Kind", "description": "Which kind it is"}
    properties["count"] = {"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "How many"}
    schema = {"type": "object", "properties": properties, "$defs": {"Kind": {"enum": [1, 2, "three"]}}}
    question = "ما هي المدينة؟ \u202eolleh"
    asks = Call("adk_request_input", {"message": question, "response_schema": schema})
    gemini.on("Many.", [asks], [Text("So many.")])
    page = visit(carol, viewport={"width": 390, "height": 844}, color_scheme="dark")
    ask_bank(page, "Many.")
    heading = page.get_by_role("heading", name="ما هي المدينة؟ \\u202eolleh")
    expect(heading).to_be_visible()
    assert heading.evaluate("(element) => getComputedStyle(element).direction") == "rtl"
    assert page.locator("main").evaluate("(main) => main.scrollWidth - main.clientWidth") == 0
    kind = page.get_by_role("combobox", name="kind")
    expect(kind).to_have_accessible_description("Which kind it is")
    kind.select_option("2")
    page.get_by_label("How many").fill("7")
    page.get_by_label("field 199").fill("x")
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.locator("article.assistant .prose").last).to_have_text("So many.")
    results = [p for c in gemini.requests[-1]["contents"] for p in c["parts"] if "functionResponse" in p]
    assert results[-1]["functionResponse"]["response"] == {"field 199": "x", "kind": 2, "count": 7}
