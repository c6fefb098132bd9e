"""Nothing that a model, a tool or a member writes acts: 500 hostile texts in every place that shows text."""

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import SignUp, Visit, ask, settled
from tests.browser.seeds import hostile_conversation
from tests.gemini import Call, Gemini, Hold, Text, Thought
from tests.hostile import PAYLOADS
from tests.live import LiveServer, Member

ALL = "\n\n".join(PAYLOADS)


def nothing_acted(page: Page, within: int = 300) -> None:
    """Beside what every test looks for: dialogs, errors, requests to other hosts. ``within`` milliseconds."""
    acting = "#messages :is(img, iframe, object, embed, script, style, link, base)"
    assert page.locator(acting).count() == 0
    handlers = page.evaluate(
        """[...document.querySelectorAll("*")].flatMap((each) => [...each.attributes]
            .filter(({name, value}) => name.startsWith("on") || /^\\s*(javascript|data):/i.test(value))
            .map(({name, value}) => `${name}=${value}`))"""
    )
    assert handlers == []
    page.wait_for_timeout(within)


# To the top; resolves when older messages have come.
SCROLL_UP = """() => new Promise((come) => {
    const count = () => document.querySelectorAll("#messages > article").length, before = count();
    document.querySelector("main").scrollTop = 0;
    const look = () => (count() > before ? come() : requestAnimationFrame(look));
    look();
})"""


def test_nothing_stored_acts(visit: Visit, server: LiveServer, sign_up: SignUp) -> None:
    assert len(PAYLOADS) >= 500
    member = sign_up(server, "laura")
    path = hostile_conversation(server, "laura", PAYLOADS)
    page = visit(member)
    page.goto(path)
    page.wait_for_load_state()
    nothing_acted(page)
    while page.locator("#older a").count():  # up to the message that has all thoughts and tools
        page.evaluate(SCROLL_UP)
    assert page.locator("#messages > article").count() == 2 * (len(PAYLOADS) + 1)
    assert page.locator("details.tool").count() == len(PAYLOADS)
    nothing_acted(page)
    for summary in page.locator("#messages summary").all()[:40]:
        summary.evaluate("(summary) => summary.click()")
    nothing_acted(page)


def test_no_hostile_title_acts(visit: Visit, server: LiveServer, sign_up: SignUp) -> None:
    member = sign_up(server, "mike")
    hostile_conversation(server, "mike", PAYLOADS)
    page = visit(member)
    page.goto("/")
    titles = 0
    while True:
        titles += page.locator("#conversations li[id]").count()
        nothing_acted(page, within=50)
        older = page.get_by_role("link", name="Older conversations", exact=True).last
        if not older.count():
            break
        page.goto(str(older.get_attribute("href")))
    assert titles >= len(PAYLOADS)


def test_nothing_acts_while_it_is_written(visit: Visit, alice: Member, gemini: Gemini) -> None:
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
    nothing_acted(page)
    gemini.release()
    settled(page)
    nothing_acted(page)


def test_the_browser_makes_no_markup_but_in_the_one_place(visit: Visit, alice: Member) -> None:
    page = visit(alice, expect_faults=["TrustedHTML", "Trusted Type", "Policy"])
    page.goto("/")
    page.wait_for_load_state()
    for way in (
        "document.body.innerHTML += '<img src=x onerror=alert(1)>'",
        "document.body.insertAdjacentHTML('beforeend', '<b>')",
        "new DOMParser().parseFromString('<b>', 'text/html')",
        "document.write('<b>')",
        "trustedTypes.createPolicy('another', {createHTML: (text) => text})",
        "trustedTypes.createPolicy('server-html', {createHTML: (text) => text})",
    ):
        outcome = page.evaluate(
            f"() => {{ try {{ {way}; return 'made'; }} catch (error) {{ return error.name; }} }}"
        )
        assert outcome == "TypeError", way


@pytest.mark.parametrize(
    "intruder",
    [
        "<script>window.ran = true</script>",
        "<script src='/own.js'></script>",
        "<script src='https://evil.example/x.js'></script>",
        "<script nonce='guessed'>window.ran = true</script>",
        "<img src='/favicon.ico' onload='window.ran = true' onerror='window.ran = true'>",
        "<style>body { display: none }</style><base href='https://evil.example/'>",
    ],
)
def test_no_script_runs_that_the_server_did_not_name(visit: Visit, alice: Member, intruder: str) -> None:
    # A page that the test itself fulfils counts as a public one, from which Chromium allows no local socket.
    page = visit(alice, expect_faults=["Content Security Policy", "evil.example", "404", "WebSocket"])

    def smuggle(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("<body", f"{intruder}<body", 1))

    page.route(f"{alice.url}/", smuggle)
    page.route("**/own.js", lambda route: route.fulfill(body="window.ran = true"))
    page.goto("/")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("window.ran") is None
    expect(page.get_by_label("Message", exact=True)).to_be_focused()  # our own ran
