"""First visit to a new installation without an API key: set-up link, sign-up and first answers."""

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, ask, shown_texts, wait_until_idle
from tests.support.live import PASSWORD, LiveServer


def sign_up_fields(page: Page, name: str, user_label: str, mail_label: str, *passwords: str) -> None:
    page.get_by_label(user_label).fill(name)
    page.get_by_label(mail_label).fill(f"{name}@example.org")
    for label in passwords:
        page.get_by_label(label, exact=True).fill(PASSWORD)


def test_the_owner_sets_up_parley_and_gets_answers_that_remember(
    visit: Visit, demo_server: LiveServer
) -> None:
    link = re.search(r"http://\S+/accounts/set-up/\S+", demo_server.output())
    assert link
    page = visit(url=demo_server.url, expect_faults=["404"])
    page.goto(link[0])
    sign_up_fields(page, "olga", "User name", "E-mail address", "Password", "Password, once more")
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What would you like to know?")
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_role("link", name="Administration")).to_be_visible()
    page.keyboard.press("Escape")

    ask(page, "What time is it in Lagos?")
    expect(page.locator("article.assistant .prose")).to_contain_text(re.compile(r"In Lagos it is \d\d:\d\d"))
    expect(page.locator("article.assistant details.step")).to_have_count(2)
    ask(page, "What did I ask before?")
    expect(page.locator("article.assistant .prose").last).to_contain_text("What time is it in Lagos?")
    wait_until_idle(page)
    assert len(shown_texts(page)) == 4

    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.get_by_label("User name or e-mail address").fill("OLGA")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="What time is it in Lagos?").click()
    expect(page.locator("article")).to_have_count(4)
    assert page.goto(link[0]).status == 404  # type: ignore[union-attr]


def test_a_new_member_can_reload_during_an_answer(visit: Visit, demo_server: LiveServer) -> None:
    page = visit(url=demo_server.url)
    page.goto("/")
    page.get_by_role("link", name="Sign up").click()
    sign_up_fields(page, "frank", "User name", "E-mail address", "Password", "Password, once more")
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What would you like to know?")
    expect(page.get_by_role("link", name="Administration")).to_have_count(0)
    ask(page, "Hello")
    expect(page.locator("article.live .prose")).to_contain_text("demo")
    page.reload()
    wait_until_idle(page)
    text = page.locator("article.assistant .prose").inner_text()
    assert text.count("demo model") == 1
    assert text.startswith("You said: Hello")
    assert text.rstrip().endswith("that I know our conversation")
