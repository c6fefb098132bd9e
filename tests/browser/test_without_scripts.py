"""The page without JavaScript: asking, reading, stopping, retrying, the sidebar."""

from playwright.sync_api import expect

from tests.browser.conftest import Visit, conversation_of, shown_texts, stored_texts
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import Member


def test_a_member_asks_reads_and_stops_without_scripts(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("Tell me", [Text("Once upon "), Hold(), Text("a **time**")])
    page = visit(alice, java_script_enabled=False)
    page.goto("/")
    page.get_by_label("Message", exact=True).fill("Tell me")
    page.get_by_role("button", name="Send").click()
    # the page reloads itself
    expect(page.locator("article.live .prose")).to_have_text("Once upon ")
    gemini.release()
    expect(page.locator("article.assistant .prose strong")).to_have_text("time")
    expect(page.get_by_role("button", name="Send")).to_be_visible()

    gemini.reset()
    gemini.on("And then?", [Text("They "), Hold()], [Text("They lived.")])
    page.get_by_label("Message", exact=True).fill("And then?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("article.live .prose")).to_have_text("They ")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".ending")).to_have_text("You stopped this answer.")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("article.assistant .prose").last).to_have_text("They lived.")
    expected = ["Tell me", "Once upon a **time**", "And then?", "They lived."]
    assert stored_texts(alice, conversation_of(page)) == expected
    assert shown_texts(page) == ["Tell me", "Once upon a time", "And then?", "They lived."]


def test_the_newest_text_is_in_view_without_scripts(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("long", [Text("\n\n".join(f"line {n}" for n in range(100)))])
    page = visit(alice, java_script_enabled=False, viewport={"width": 800, "height": 600})
    page.goto("/")
    page.get_by_label("Message", exact=True).fill("long")
    page.get_by_role("button", name="Send").click()
    last = page.get_by_text("line 99", exact=True)
    expect(last).to_be_attached()
    expect(last).to_be_in_viewport()


def test_a_refused_message_stays_in_the_form(visit: Visit, alice: Member) -> None:
    page = visit(alice, java_script_enabled=False, expect_faults=["422"])
    page.goto("/")
    text = "  \n" + "x" * 132_000
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#notice")).to_have_text("The message is longer than 128 KiB.")
    # a form sends CRLF, which the browser reads back as one line end
    assert page.get_by_label("Message", exact=True).input_value() == text


def test_the_sidebar_opens_and_closes_without_scripts(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice, java_script_enabled=False, viewport={"width": 390, "height": 844})
    page.goto("/")
    sidebar = page.get_by_role("navigation", name="Conversations")
    expect(sidebar).to_be_hidden()
    page.get_by_role("button", name="Conversations").click()
    expect(sidebar).to_be_visible()
    page.keyboard.press("Escape")
    expect(sidebar).to_be_hidden()
