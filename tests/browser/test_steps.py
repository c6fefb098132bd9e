"""Steps of an answer: one quiet line, and what it shows of work, success and failure."""

from playwright.sync_api import expect

from tests.browser.conftest import Visit, ask, wait_until_idle
from tests.support.gemini import Call, Gemini, Hold, Text, Thought
from tests.support.live import Member

TIME = Call("current_time", {"place": "Tokyo"})
FAILING = Call("current_time", {"wrong": "Tokyo"})


def test_folded_steps_share_one_line_without_a_box(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("When?", [Thought("Let me see."), TIME], [Text("Now.")])
    page = visit(alice)
    page.goto("/")
    ask(page, "When?")
    wait_until_idle(page)
    steps = page.locator("article.assistant details.step")
    expect(steps).to_have_count(2)
    thought, tool = (steps.nth(n).bounding_box() for n in range(2))
    assert thought and tool
    assert thought["y"] == tool["y"]
    assert thought["height"] <= 32
    assert steps.first.evaluate("(step) => getComputedStyle(step).borderBlockStartWidth") == "0px"


def test_an_open_step_shows_its_details_on_lines_of_its_own(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("When?", [Thought("Let me see."), TIME], [Text("Now.")])
    page = visit(alice)
    page.goto("/")
    ask(page, "When?")
    wait_until_idle(page)
    tool = page.locator("details.tool-step")
    tool.locator("summary").first.click()
    expect(tool.locator(".tool-args")).to_be_visible()
    box, column = tool.bounding_box(), page.locator("article.assistant").bounding_box()
    assert box and column
    assert box["width"] == column["width"]


def test_a_step_is_coloured_by_its_outcome(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("Both", [TIME, FAILING], [Text("Done.")])
    page = visit(alice)
    page.goto("/")
    ask(page, "Both")
    wait_until_idle(page)
    colour = "(state) => getComputedStyle(state).color"
    states = page.locator(".tool-state")
    expect(states).to_have_count(2)
    assert states.first.evaluate(colour) != states.last.evaluate(colour)
    expect(states.last).to_have_text("failed")
    failed = page.locator('details.tool-step[data-outcome="failed"]')
    expect(failed.locator("summary .icon").first).to_be_hidden()  # the tool
    expect(failed.locator("summary .icon").nth(1)).to_be_visible()  # the warning


def test_only_the_newest_of_many_steps_are_shown(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("Many", [FAILING, *[TIME] * 9], [Text("Done"), Hold()])
    page = visit(alice)
    page.goto("/")
    ask(page, "Many")
    steps = page.locator(".tool-step")
    expect(page.locator("article.live .prose")).to_have_text("Done")
    for _state in ("live", "stored"):
        expect(steps).to_have_count(10)
        expect(steps.filter(visible=True)).to_have_count(4)  # with the one that failed
        expect(steps.first).to_be_visible()
        page.get_by_text("All steps").click()
        expect(steps.filter(visible=True)).to_have_count(10)
        page.get_by_text("Fewer steps").click()
        expect(steps.filter(visible=True)).to_have_count(4)
        gemini.release()
        wait_until_idle(page)
        page.reload()


def test_few_steps_are_not_folded(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("Some", [TIME] * 6, [Text("Done")])
    page = visit(alice)
    page.goto("/")
    ask(page, "Some")
    wait_until_idle(page)
    expect(page.locator(".tool-step").filter(visible=True)).to_have_count(6)
    expect(page.get_by_text("All steps")).to_be_hidden()


def test_thinking_is_not_announced_while_a_step_is_at_work(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("Slowly", [Thought("First this."), Hold(), Text("Done.")])
    page = visit(alice)
    page.goto("/")
    ask(page, "Slowly")
    expect(page.locator("details.thought-step summary")).to_contain_text("Thinking…")
    expect(page.locator(".reply-waiting")).to_be_hidden()
    page.reload()
    expect(page.locator("details.thought-step summary")).to_contain_text("Thinking…")
    expect(page.locator(".reply-waiting")).to_be_hidden()
    gemini.release()
    wait_until_idle(page)
    expect(page.locator("details.thought-step summary .when-done")).to_be_visible()
    expect(page.locator("details.thought-step summary .when-working")).to_be_hidden()
