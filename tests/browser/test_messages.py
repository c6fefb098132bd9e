"""Parts of an answer: thoughts, tools and code; and copying them."""

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, ask, wait_until_idle
from tests.support.gemini import Call, Gemini, Hold, Text, Thought
from tests.support.live import Member

CODE = "def f(x):\n\treturn x < 1 and 'é'\n"


def clipboard(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_a_thought_is_open_while_streaming_and_folds_when_the_answer_starts(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("think", [Thought("Let me "), Thought("see."), Hold(), Text("So.")])
    page = visit(alice)
    page.goto("/")
    ask(page, "think")
    thought = page.locator("details.thought-step")
    expect(thought.locator(".step-text")).to_have_text("Let me see.")
    expect(thought.locator(".step-text")).to_be_visible()
    page.reload()  # the thought continues after a reload
    expect(thought.locator(".step-text")).to_be_visible()
    gemini.release()
    wait_until_idle(page)
    expect(thought).to_have_count(1)
    expect(thought).to_have_attribute("class", "step thought-step")
    expect(thought.locator(".step-text")).to_be_hidden()


def test_a_thought_that_the_reader_unfolds_stays_open(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("think", [Thought("Let me see."), Hold(), Text("So."), Hold(), Text(" There.")])
    page = visit(alice)
    page.goto("/")
    ask(page, "think")
    thought = page.locator("details.thought-step")
    expect(thought.locator(".step-text")).to_be_visible()
    thought.locator("summary").click()
    thought.locator("summary").click()  # folded and unfolded again by the reader
    gemini.release()
    wait_until_idle(page)
    expect(thought.locator(".step-text")).to_be_visible()


def test_a_tool_is_one_line_that_unfolds_by_the_keyboard(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("6*7?", [Call("calculate", {"expression": "6*7"})], [Text("42.")])
    page = visit(alice)
    page.goto("/")
    ask(page, "6*7?")
    wait_until_idle(page)
    tool = page.locator("details.tool-step")
    expect(tool.locator("summary")).to_have_text(re.compile(r"^\s*calculate\s+\d+\.\d s\s*$"))
    expect(tool.locator(".tool-outcome")).to_be_hidden()
    tool.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(tool.locator(".tool-outcome")).to_be_visible()
    page.keyboard.press("Enter")
    expect(tool.locator(".tool-outcome")).to_be_hidden()


def test_a_long_tool_result_is_cut_and_shown_in_full_on_request(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    name = "no_such_" + "😀x" * 3000
    gemini.on("long", [Call(name, {})], [Text("a"), Hold(), Text("b")])
    page = visit(alice)
    page.goto("/")
    ask(page, "long")
    expect(page.locator("article.live .prose")).to_have_text("a")
    tool = page.locator("details.tool-step")
    live = tool.evaluate("(tool) => tool.querySelector('.tool-outcome').textContent")
    assert len(live) == 2000
    gemini.release()
    wait_until_idle(page)
    assert tool.evaluate("(tool) => tool.querySelector('.tool-outcome').textContent") == live
    tool.locator("summary").first.click()
    expect(tool.locator(".tool-rest")).to_be_hidden()
    tool.get_by_text("Show all").click()
    expect(tool.locator(".tool-rest")).to_be_visible()
    assert name in live + str(tool.locator(".tool-rest").text_content())


def test_code_shows_its_language_and_is_copied_verbatim(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("code", [Text(f"Look:\n\n```python\n{CODE}```\n")])
    page = visit(alice)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/")
    ask(page, "code")
    wait_until_idle(page)
    expect(page.locator("figure.code .language")).to_have_text("python")
    copy = page.locator("figure.code").get_by_role("button", name="Copy")
    page.clock.install()
    copy.click()
    expect(page.locator("figure.code").get_by_role("button", name="Copied")).to_be_visible()
    expect(page.locator("#announcer")).to_have_text("The code is copied.")
    assert clipboard(page) == CODE.rstrip("\n")  # a terminal would run what ends in a newline
    page.clock.fast_forward(1600)
    expect(copy).to_be_visible()


def test_long_lines_of_code_can_be_wrapped(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("code", [Text("```\n" + "word " * 80 + "\n```\n\nand"), Hold(), Text(" more")])
    page = visit(alice)
    page.goto("/")
    ask(page, "code")
    wrap = page.get_by_role("button", name="Wrap")
    wrap.click()
    sideways = "(pre) => pre.scrollWidth > pre.clientWidth"
    assert not page.locator(".prose pre").evaluate(sideways)
    gemini.release()
    wait_until_idle(page)
    expect(wrap).to_have_attribute("aria-pressed", "true")  # later text does not reset it
    assert not page.locator(".prose pre").evaluate(sideways)
    wrap.click()
    assert page.locator(".prose pre").evaluate(sideways)


def test_a_message_is_copied_as_its_source_text(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("*why*?", [Text("# Because\n\n**bold**")])
    page = visit(alice)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/")
    ask(page, "*why*?")
    wait_until_idle(page)
    page.locator("article.assistant").get_by_role("button", name="Copy").click()
    expect(page.locator(".toast")).to_contain_text("The message is copied.")
    assert clipboard(page) == "# Because\n\n**bold**"
    page.locator("article.user").hover()
    page.locator("article.user").get_by_role("button", name="Copy").click()
    expect(page.locator(".toast")).to_have_count(2)
    assert clipboard(page) == "*why*?"


def test_copying_works_over_plain_http_from_another_machine(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    # Without TLS, browsers give scripts no clipboard, except on localhost.
    gemini.on("code", [Text(f"Look:\n\n```python\n{CODE}```\n")])
    page = visit(alice)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.goto("/")
    ask(page, "code")
    wait_until_idle(page)
    query = page.get_by_label("Message", exact=True)
    page.locator("figure.code").get_by_role("button", name="Copy").click()
    expect(page.locator("figure.code").get_by_role("button", name="Copied")).to_be_visible()
    query.focus()
    page.keyboard.press("Control+v")
    expect(query).to_have_value(CODE.rstrip("\n"))
    page.locator("article.assistant").get_by_role("button", name="Copy").last.click()
    expect(page.locator(".toast")).to_contain_text("The message is copied.")
    query.fill("")
    page.keyboard.press("Control+v")
    expect(query).to_have_value(f"Look:\n\n```python\n{CODE}```\n")


def test_the_actions_of_a_question_appear_on_hover_and_focus(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.goto("/")
    ask(page, "one")
    wait_until_idle(page)
    page.mouse.move(0, 0)
    opacity = "(acts) => getComputedStyle(acts).opacity"
    question, answer = (
        page.locator("article.user .edit-question"),
        page.locator("article.assistant .ask-again"),
    )
    assert (question.evaluate(opacity), answer.evaluate(opacity)) == ("0", "1")
    page.locator("article.user").hover()
    assert question.evaluate(opacity) == "1"
    page.mouse.move(0, 0)
    question.focus()
    assert question.evaluate(opacity) == "1"
