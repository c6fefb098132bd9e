"""500 hostile texts of a model, a tool or a member have no effect in any place that displays text."""

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import SignUp, Visit, ask, wait_until_idle
from tests.browser.seeds import hostile_conversation
from tests.support.gemini import Call, Gemini, Hold, Text, Thought
from tests.support.hostile import PAYLOADS
from tests.support.live import LiveServer, Member

ALL = "\n\n".join(PAYLOADS)


def assert_no_effect(page: Page, within: int = 300) -> None:
    """Assert that the page has no active elements or handlers, then wait ``within`` ms.

    The fixture ``visit`` checks for dialogs, errors and requests to other hosts.
    """
    acting = "#messages :is(img, iframe, object, embed, script, style, link, base)"
    assert page.locator(acting).count() == 0
    handlers = page.evaluate(
        """[...document.querySelectorAll("*")].flatMap((each) => [...each.attributes]
            .filter(({name, value}) => name.startsWith("on")
                || (!["title", "data-title"].includes(name) && /^\\s*(javascript|data):/i.test(value)))
            .map(({name, value}) => `${name}=${value}`))"""
    )
    assert handlers == []
    page.wait_for_timeout(within)


# Scrolls to the top; resolves when older messages have loaded.
SCROLL_UP = """() => new Promise((resolve) => {
    const count = () => document.querySelectorAll("#messages > article").length, before = count();
    document.querySelector("main").scrollTop = 0;
    const check = () => (count() > before ? resolve() : requestAnimationFrame(check));
    check();
})"""


def test_stored_hostile_texts_have_no_effect(visit: Visit, server: LiveServer, sign_up: SignUp) -> None:
    assert len(PAYLOADS) >= 500
    member = sign_up(server, "laura")
    path = hostile_conversation(server, "laura", PAYLOADS)
    page = visit(member)
    page.goto(path)
    page.wait_for_load_state()
    assert_no_effect(page)
    while page.locator("#older a").count():  # up to the message with all thoughts and tools
        page.evaluate(SCROLL_UP)
    assert page.locator("#messages > article").count() == 2 * (len(PAYLOADS) + 1)
    assert page.locator("details.tool-step").count() == len(PAYLOADS)
    assert_no_effect(page)
    for summary in page.locator("#messages summary").all()[:40]:
        summary.evaluate("(summary) => summary.click()")
    assert_no_effect(page)


def test_hostile_titles_have_no_effect(visit: Visit, server: LiveServer, sign_up: SignUp) -> None:
    member = sign_up(server, "mike")
    hostile_conversation(server, "mike", PAYLOADS)
    page = visit(member)
    page.goto("/")
    titles = 0
    while True:
        titles += page.locator("#conversations li[id]").count()
        assert_no_effect(page, within=50)
        older = page.get_by_role("link", name="Older conversations", exact=True).last
        if not older.count():
            break
        page.goto(str(older.get_attribute("href")))
    assert titles >= len(PAYLOADS)


def test_streamed_hostile_texts_have_no_effect(visit: Visit, alice: Member, gemini: Gemini) -> None:
    name = "".join(PAYLOADS)[:3000]
    gemini.on(
        ALL.strip(),
        [Thought(ALL), Call(name, {text[:200]: text for text in PAYLOADS})],
        [*[Text(text + "\n\n") for text in PAYLOADS], Hold()],
    )
    page = visit(alice)
    page.goto("/")
    ask(page, ALL.strip())
    expect(page.locator("article.live .prose > *").nth(100)).to_be_attached()
    assert_no_effect(page)
    gemini.release()
    wait_until_idle(page)
    assert_no_effect(page)


def test_trusted_types_block_markup_from_any_other_source(visit: Visit, alice: Member) -> None:
    page = visit(alice, expect_faults=["TrustedHTML", "Trusted Type", "Policy"])
    page.goto("/")
    page.wait_for_load_state()
    for statement in (
        "document.body.innerHTML += '<img src=x onerror=alert(1)>'",
        "document.body.insertAdjacentHTML('beforeend', '<b>')",
        "new DOMParser().parseFromString('<b>', 'text/html')",
        "document.write('<b>')",
        "trustedTypes.createPolicy('another', {createHTML: (text) => text})",
        "trustedTypes.createPolicy('server-html', {createHTML: (text) => text})",
    ):
        outcome = page.evaluate(
            f"() => {{ try {{ {statement}; return 'made'; }} catch (error) {{ return error.name; }} }}"
        )
        assert outcome == "TypeError", statement


@pytest.mark.parametrize(
    "markup",
    [
        "<script>window.ran = true</script>",
        "<script src='/own.js'></script>",
        "<script src='https://evil.example/x.js'></script>",
        "<script nonce='guessed'>window.ran = true</script>",
        "<img src='/favicon.ico' onload='window.ran = true' onerror='window.ran = true'>",
        "<style>body { display: none }</style><base href='https://evil.example/'>",
    ],
)
def test_the_content_security_policy_blocks_injected_scripts(
    visit: Visit, alice: Member, markup: str
) -> None:
    # Chromium treats a page fulfilled by the test as public, and blocks its socket to a local address.
    page = visit(alice, expect_faults=["Content Security Policy", "evil.example", "404", "WebSocket"])

    def inject(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("<body", f"{markup}<body", 1))

    page.route(f"{alice.url}/", inject)
    page.route("**/own.js", lambda route: route.fulfill(body="window.ran = true"))
    page.goto("/")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("window.ran") is None
    expect(page.get_by_label("Message", exact=True)).to_be_focused()  # Parley's own script ran
