"""Scrolling: the view follows new text until the reader scrolls up; finished blocks do not move."""

from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, wait_until_idle
from tests.browser.seeds import long_conversation
from tests.support.gemini import Gemini, Hold, Pause, Text
from tests.support.live import LiveServer, Member

GAP = "(view) => Math.round(view.scrollHeight - view.scrollTop - view.clientHeight)"
SMALL = {"width": 800, "height": 600}
LINES = [Text("".join(f"line {n}\n\n" for n in range(60)))]


def view(page: Page) -> Any:
    return page.locator("main")


def top_of(page: Page, selector: str) -> float:
    """Return the distance in pixels from the view's top to the first matching element."""
    found: float = page.evaluate(
        """(selector) => document.querySelector(selector).getBoundingClientRect().top
            - document.querySelector("main").getBoundingClientRect().top""",
        selector,
    )
    return found


def jump(page: Page) -> Any:
    return page.get_by_role("button", name="Jump to latest")


def test_a_button_jumps_back_to_the_newest_text(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("long", [*LINES, Hold(), *LINES, Hold(), *LINES])
    page = visit(alice, viewport=SMALL)
    page.goto("/")
    ask(page, "long")
    expect(page.locator("article.live .prose")).to_contain_text("line 59")
    expect(jump(page)).to_be_hidden()
    page.mouse.move(400, 300)
    page.mouse.wheel(0, -400)
    expect(jump(page)).to_be_visible()
    jump(page).click()
    expect(jump(page)).to_be_hidden()
    assert view(page).evaluate(GAP) <= 2
    gemini.release()  # the view follows again
    wait_until_idle(page)
    expect(jump(page)).to_be_hidden()
    assert view(page).evaluate(GAP) <= 2


def test_the_jump_button_counts_new_messages(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("long", LINES)
    page = visit(alice, viewport=SMALL)
    page.goto("/")
    ask(page, "long")
    wait_until_idle(page)
    page.mouse.move(400, 300)
    page.mouse.wheel(0, -400)
    expect(jump(page)).to_be_visible()
    expect(page.locator("#jump-count")).to_have_text("")
    with alice.ask("and on my phone?", conversation=conversation_of(page)) as stream:
        stream.all_events()
    expect(page.locator("#jump-count")).to_have_text("(2 new)")
    expect(jump(page)).to_have_accessible_name("Jump to latest (2 new)")
    jump(page).click()
    # Not the same text in the live region for screen readers.
    expect(page.get_by_role("main").get_by_text("You said: and on my phone?")).to_be_in_viewport()
    expect(page.locator("#jump-count")).to_have_text("")


def test_scrolling_to_the_end_follows_again(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("long", [*LINES, Hold(), *LINES])
    page = visit(alice, viewport=SMALL)
    page.goto("/")
    ask(page, "long")
    expect(page.locator("article.live .prose")).to_contain_text("line 59")
    page.mouse.move(400, 300)
    page.mouse.wheel(0, -400)
    expect(jump(page)).to_be_visible()
    page.mouse.wheel(0, 5000)
    expect(jump(page)).to_be_hidden()
    gemini.release()
    wait_until_idle(page)
    assert view(page).evaluate(GAP) <= 2


def test_the_view_stays_at_the_question_if_the_setting_says_so(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("first", LINES)
    gemini.on("second", [Text("short"), Hold(), *LINES])
    page = visit(alice, viewport=SMALL)
    page.goto("/")
    page.get_by_role("button", name="Settings").click()
    with page.expect_response("**/preferences/"):
        page.get_by_text("Stay at the question").click()
    page.keyboard.press("Escape")
    ask(page, "first")
    expect(page.locator("article.assistant")).to_have_count(1)
    wait_until_idle(page)
    ask(page, "second")
    expect(page.locator("article.live .prose")).to_have_text("short")
    question = "article.user:nth-of-type(3)"
    assert abs(top_of(page, question)) <= 8
    before = top_of(page, question)
    gemini.release()
    wait_until_idle(page)
    assert abs(top_of(page, question) - before) <= 1
    expect(jump(page)).to_be_visible()


def test_finished_blocks_keep_their_nodes_and_the_selection(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    words = [step for n in range(20) for step in (Text(f"word{n} *and* `more`\n\n"), Pause(0.02))]
    gemini.on("story", [Text("# Once\n\nupon a **time**\n\n"), Hold(), *words])
    page = visit(alice)
    page.goto("/")
    ask(page, "story")
    expect(page.locator("article.live .prose p")).to_have_text("upon a time")
    page.evaluate(
        """() => {
            const block = document.querySelector(".prose h3");
            block.mark = "mine";
            getSelection().selectAllChildren(block);
            window.gone = [];
            const blocks = "p:not([class]), h3, li, pre"; // of the answer: those around it have a class
            const count = (changes) => changes.forEach((change) => change.removedNodes.forEach(
                (node) => node.nodeType === 1 && node.matches(blocks) && window.gone.push(node.outerHTML)));
            const messages = document.querySelector("#messages");
            new MutationObserver(count).observe(messages, {childList: true, subtree: true});
        }"""
    )
    gemini.release()
    wait_until_idle(page)
    assert page.locator("article.assistant .prose p").count() == 21
    assert page.evaluate("document.querySelector('article.assistant .prose h3').mark") == "mine"
    assert page.evaluate("getSelection().toString().trim()") == "Once"
    assert page.evaluate("window.gone") == []  # no finished block is made again


def test_one_caret_marks_the_end_of_streaming_text(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("go", [Text("one\n\n- two\n- three"), Hold(), Text(" four")])
    page = visit(alice)
    page.goto("/")
    ask(page, "go")
    expect(page.locator("article.live .prose li").last).to_have_text("three")
    carets = """() => [...document.querySelectorAll("#messages *")]
        .map((each) => getComputedStyle(each, "::after"))
        .filter((style) => style.content === '""')
        .map((style) => style.animationName)"""
    assert page.evaluate(carets) == ["none"]  # the tests' browser asks for reduced motion
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(carets) == ["blink"]
    gemini.release()
    wait_until_idle(page)
    assert page.evaluate(carets) == []


def test_older_messages_load_on_scrolling_up_without_a_jump(
    visit: Visit, server: LiveServer, sign_up: SignUp
) -> None:
    member = sign_up(server, "ivan-scrolls")
    path = long_conversation(server, member.name, 100)
    page = visit(member, viewport=SMALL)
    page.goto(path)
    page.wait_for_load_state()
    turns = page.locator("#messages > article")
    expect(page.get_by_text("message 99", exact=True)).to_be_in_viewport()
    page.mouse.move(400, 300)
    count = turns.count()
    assert count < 100
    while count < 100:
        # at the very top, where browsers do not anchor the scroll position
        before = page.evaluate(
            """() => {
                document.querySelector("main").scrollTop = 0;
                window.held = document.querySelector("#messages > article");
                return window.held.getBoundingClientRect().top;
            }"""
        )
        expect(turns).not_to_have_count(count)
        page.wait_for_timeout(300)  # the view stays where it is
        assert abs(page.evaluate("window.held.getBoundingClientRect().top") - before) <= 2
        count = turns.count()
    page.evaluate("document.querySelector('main').scrollTop = 0")
    expect(page.get_by_text("message 0", exact=True)).to_be_in_viewport()
    texts = page.locator(".bubble, .prose p").all_text_contents()
    assert texts == [f"message {n}" for n in range(100)]


def test_loaded_older_messages_stay_after_the_next_question(
    visit: Visit, server: LiveServer, sign_up: SignUp
) -> None:
    member = sign_up(server, "judy")
    path = long_conversation(server, member.name, 60)
    page = visit(member, viewport=SMALL)
    page.goto(path)
    page.wait_for_load_state()
    page.evaluate("document.querySelector('main').scrollTop = 0")
    expect(page.locator("#messages > article")).to_have_count(60)
    ask(page, "and now?")
    expect(page.locator("article.assistant .prose").last).to_have_text("You said: and now?")
    wait_until_idle(page)
    expect(page.locator("#messages > article")).to_have_count(62)
    expect(page.locator("#older a")).to_have_count(0)
    assert view(page).evaluate(GAP) <= 48
