"""Versions of questions and answers: edit, regenerate, and the pager between them."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit, ask, conversation_of, shown_texts, stored_texts, wait_until_idle
from tests.browser.seeds import long_conversation
from tests.browser.test_accessibility import DESKTOP, PHONE, axe_violations
from tests.support.gemini import Gemini, Hold, Status, Text
from tests.support.live import LiveServer, Member


def open_asked(visit: Visit, alice: Member, *questions: str, **options: Any) -> Page:
    """Open a page and ask these questions, one after another."""
    page = visit(alice, **options)
    page.goto("/")
    for number, question in enumerate(questions, 1):
        page.get_by_label("Message", exact=True).fill(question)
        page.get_by_role("button", name="Send").click()
        expect(page.locator("article.assistant:not(.live)")).to_have_count(number)
        wait_until_idle(page)
    return page


def pager(page: Page, number: int, total: int) -> Locator:
    return page.get_by_role("group", name=f"Version {number} of {total}")


def regenerate(page: Page, answer: str) -> None:
    page.locator("article.assistant").last.get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.assistant .prose").last).to_have_text(answer)
    wait_until_idle(page)


def start_edit(page: Page, question: str) -> Locator:
    article = page.locator("article.user", has_text=question)
    article.hover()
    article.get_by_role("button", name="Edit").click()
    return page.get_by_label("Edit the question")


def models_history(gemini: Gemini) -> list[str]:
    """Return the texts of the conversation that the model was asked with last."""
    return [part["text"] for each in gemini.requests[-1]["contents"] for part in each["parts"]]


def test_the_old_answer_stays_a_version_after_regenerate(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("one", [Text("first")], [Text("second")])
    page = open_asked(visit, alice, "one")
    regenerate(page, "second")
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(pager(page, 1, 2)).to_be_visible()
    assert shown_texts(page) == ["one", "first"]


def test_the_old_answer_can_be_read_while_the_new_one_is_written(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("one", [Text("first")], [Text("sec"), Hold(), Text("ond")])
    page = open_asked(visit, alice, "one")
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.live .prose")).to_have_text("sec")
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(pager(page, 1, 2)).to_be_visible()
    assert shown_texts(page) == ["one", "first"]
    pager(page, 1, 2).get_by_role("button", name="Next version").click()
    expect(page.locator("article.live .prose")).to_have_text("sec")
    gemini.release()
    wait_until_idle(page)
    assert shown_texts(page) == ["one", "second"]


def test_an_answer_that_is_written_in_another_version_is_linked(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("one", [Text("first")], [Text("sec"), Hold(), Text("ond")])
    page = open_asked(visit, alice, "one")
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.live .prose")).to_have_text("sec")
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    page.get_by_role("button", name="Show it").click()
    expect(page.locator("article.live .prose")).to_have_text("sec")


def test_the_page_that_shows_another_version_hears_of_the_end(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("one", [Text("first")], [Text("sec"), Hold(), Text("ond")])
    page = open_asked(visit, alice, "one")
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.live .prose")).to_have_text("sec")
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(page.get_by_role("button", name="Show it")).to_be_visible()
    gemini.release()
    wait_until_idle(page)
    assert shown_texts(page) == ["one", "first"]
    expect(pager(page, 1, 2)).to_be_visible()


def test_an_answer_above_the_last_one_can_be_regenerated(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("one", [Text("first")], [Text("second")])
    page = open_asked(visit, alice, "one", "two")
    first = page.locator("article.assistant").first
    first.hover()
    first.get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.assistant .prose")).to_have_text(["second"])
    wait_until_idle(page)
    assert shown_texts(page) == ["one", "second"]
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(page.locator("article")).to_have_count(4)
    assert shown_texts(page) == ["one", "first", "two", "You said: two"]


def test_an_edited_question_is_asked_in_place_of_the_old_one(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = open_asked(visit, alice, "one", "two", "three")
    field = start_edit(page, "two")
    expect(field).to_be_focused()
    expect(field).to_have_value("two")
    field.fill("deux")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant:not(.live)")).to_have_count(2)
    wait_until_idle(page)
    assert shown_texts(page) == ["one", "You said: one", "deux", "You said: deux"]
    assert models_history(gemini) == ["one", "You said: one", "deux"]
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(page.locator("article")).to_have_count(6)


def test_the_first_question_can_be_edited(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = open_asked(visit, alice, "one")
    start_edit(page, "one").fill("uno")
    page.locator(".edit-form").get_by_role("button", name="Send").click()
    expect(page.locator("article.assistant .prose")).to_have_text("You said: uno")
    wait_until_idle(page)
    assert stored_texts(alice, conversation_of(page)) == ["uno", "You said: uno"]
    assert models_history(gemini) == ["uno"]


def test_escape_cancels_an_edit_and_returns_the_focus(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one")
    start_edit(page, "one").fill("changed")
    page.keyboard.press("Escape")
    expect(page.locator("article.user").get_by_role("button", name="Edit")).to_be_focused()
    assert shown_texts(page) == ["one", "You said: one"]


def test_shift_enter_begins_a_line_in_an_edit(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one")
    field = start_edit(page, "one")
    field.press("End")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    expect(field).to_have_value("one\ntwo")


def test_a_refused_edit_keeps_its_text(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one", expect_faults=["422"])
    field = start_edit(page, "one")
    field.fill("x" * 132_000)
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_have_text("The message is longer than 128 KiB.")
    expect(field).to_have_value("x" * 132_000)
    assert page.locator("article.assistant .prose").is_visible()


def test_an_edit_survives_an_update_from_another_tab(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one")
    field = start_edit(page, "one")
    field.fill("half a thou")
    other = page.context.new_page()
    other.goto(page.url)
    ask(other, "two")
    expect(page.locator("article")).to_have_count(4)
    wait_until_idle(page)
    expect(field).to_have_value("half a thou")


def test_a_chosen_version_survives_a_reload(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("one", [Text("first")], [Text("second")])
    page = open_asked(visit, alice, "one")
    regenerate(page, "second")
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(pager(page, 1, 2)).to_be_visible()
    page.goto(page.url)
    assert shown_texts(page) == ["one", "first"]


def test_a_chosen_version_appears_in_another_browser(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("one", [Text("first")], [Text("second")])
    page = open_asked(visit, alice, "one")
    regenerate(page, "second")
    other = visit(alice)
    with other.expect_websocket():
        other.goto(page.url)
    expect(other.locator("article.assistant .prose")).to_have_text("second")
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(other.locator("article.assistant .prose")).to_have_text("first", timeout=2000)


def test_the_next_question_continues_the_shown_version(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("one", [Text("first")], [Text("second")])
    page = open_asked(visit, alice, "one")
    regenerate(page, "second")
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(pager(page, 1, 2)).to_be_visible()
    ask(page, "and then?")
    expect(page.locator("article.assistant:not(.live)")).to_have_count(2)
    assert models_history(gemini) == ["one", "first", "and then?"]


def test_a_tab_that_missed_a_choice_continues_what_it_shows(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("one", [Text("first")], [Text("second")])
    page = open_asked(visit, alice, "one")
    regenerate(page, "second")
    other = visit(alice)
    other.route_web_socket("**/ws/**", lambda socket: None)  # it hears of nothing
    other.goto(page.url)
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(pager(page, 1, 2)).to_be_visible()
    ask(other, "and then?")
    expect(other.locator("article.assistant:not(.live)")).to_have_count(2)
    wait_until_idle(other)
    assert models_history(gemini) == ["one", "second", "and then?"]
    assert shown_texts(other) == ["one", "second", "and then?", "You said: and then?"]


def test_the_focus_stays_on_the_pager(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("one", [Text("first")], [Text("second")], [Text("third")])
    page = open_asked(visit, alice, "one")
    regenerate(page, "second")
    regenerate(page, "third")
    pager(page, 3, 3).get_by_role("button", name="Previous version").focus()
    page.keyboard.press("Enter")
    expect(pager(page, 2, 3).get_by_role("button", name="Previous version")).to_be_focused()
    page.keyboard.press("Enter")
    # at the first version only the other button is left
    expect(pager(page, 1, 3).get_by_role("button", name="Next version")).to_be_focused()


def test_a_screen_reader_hears_the_number_of_the_version(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("one", [Text("first")], [Text("second")])
    page = open_asked(visit, alice, "one")
    regenerate(page, "second")
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(page.locator("#announcer")).to_have_text("Version 1 of 2")


def test_the_message_stays_in_place_when_its_version_changes(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    long = "\n\n".join(f"line {n}" for n in range(60))
    gemini.on("two", [Text(long)], [Text("short")])
    page = open_asked(visit, alice, "one", "two", viewport={"width": 1280, "height": 800})
    regenerate(page, "short")
    question = page.locator("article.user", has_text="two")
    before = question.bounding_box()
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(page.get_by_text("line 59", exact=True)).to_be_attached()
    after = question.bounding_box()
    assert before and after
    assert abs(before["y"] - after["y"]) <= 1


def test_the_old_answer_stays_reachable_after_a_failed_regenerate(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("one", [Text("first")], [Status(400, "INVALID_ARGUMENT")])
    page = open_asked(visit, alice, "one")
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator(".ending")).to_have_text("The model failed to answer.")
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(page.locator("article.assistant .prose")).to_have_text("first")
    assert page.locator(".ending").count() == 0


FORK = """
from chat.models import Conversation, Message
found = Conversation.objects.get(pk={pk!r})
parent = Message.objects.get(conversation=found, text="message 10").parent_id
found.head = Message.objects.create(conversation=found, parent_id=parent, role="user", text="other")
found.save()
"""


def test_a_version_that_is_far_above_the_end_is_shown(
    visit: Visit, server: LiveServer, alice: Member
) -> None:
    path = long_conversation(server, "alice", 400)
    done = server.manage("shell", "-c", FORK.format(pk=path.split("/")[2]))
    assert done.returncode == 0, done.stderr
    page = visit(alice)
    page.goto(path)
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(page.locator("article:target")).to_contain_text("message 10")
    expect(page.locator("article:target")).to_be_in_viewport()
    page.get_by_role("link", name="To the newest messages").click()
    expect(page.locator("article").last).to_have_text(re.compile("message 399"))


def test_an_edit_while_an_answer_is_written_says_that_it_must_wait(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("two", [Text("a"), Hold()])
    page = open_asked(visit, alice, "one")
    field = start_edit(page, "one")
    ask(page, "two")
    expect(page.locator("article.live .prose")).to_have_text("a")
    field.fill("ONE")
    field.press("Enter")
    expect(page.locator("#notice")).to_contain_text("You can send this when the answer has ended.")
    expect(field).to_have_value("ONE")


def test_an_edit_above_an_opened_search_result_shows_its_answer(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one", "two")
    result = page.locator("article.user", has_text="two").get_attribute("id") or ""
    page.goto(f"{page.url}?message={result.removeprefix('m-')}&find=two#{result}")
    start_edit(page, "one").fill("ONE")
    page.keyboard.press("Enter")
    expect(page.locator("article.assistant:not(.live)")).to_have_count(1)
    wait_until_idle(page)
    assert shown_texts(page) == ["ONE", "You said: ONE"]
    page.reload()
    assert shown_texts(page) == ["ONE", "You said: ONE"]
    expect(page.get_by_role("searchbox")).to_have_value("two")


def test_versions_work_without_scripts(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("one", [Text("first")], [Text("second")])
    page = visit(alice, java_script_enabled=False)
    page.goto("/")
    page.get_by_label("Message", exact=True).fill("one")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.assistant .prose")).to_have_text("second")
    pager(page, 2, 2).get_by_role("button", name="Previous version").click()
    expect(page.locator("article.assistant .prose")).to_have_text("first")
    page.get_by_label("Message", exact=True).fill("and then?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("article.assistant .prose")).to_have_text(["first", "You said: and then?"])
    assert models_history(gemini) == ["one", "first", "and then?"]


def test_a_question_is_edited_without_scripts(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice, java_script_enabled=False)
    page.goto("/")
    page.get_by_label("Message", exact=True).fill("one")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("article.assistant .prose")).to_have_text("You said: one")
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Edit the question").fill("uno")
    page.locator(".edit-form").get_by_role("button", name="Send").click()
    expect(page.locator("article.assistant .prose")).to_have_text("You said: uno")
    assert models_history(gemini) == ["uno"]
    expect(pager(page, 2, 2)).to_be_visible()


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_in_pager_and_edit_form(
    visit: Visit, alice: Member, gemini: Gemini, device: dict[str, Any]
) -> None:
    gemini.on("one", [Text("first")], [Text("second")])
    page = open_asked(visit, alice, "one", **device)
    regenerate(page, "second")
    start_edit(page, "one")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert (scheme, axe_violations(page)) == (scheme, [])
