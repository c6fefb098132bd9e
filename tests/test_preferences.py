"""How somebody likes the page: kept by the browser, rendered by the server."""

from typing import Any

import pytest
from django.test import Client

from tests.dom import Element, parse

pytestmark = pytest.mark.any_database

CHOSEN = {"theme": "dark", "sidebar": "closed", "follow": "off", "announce": "blocks"}


@pytest.fixture
def browser(alice: Any) -> Client:
    client = Client()
    client.force_login(alice)
    return client


def home(browser: Client) -> Element:
    return parse(browser.get("/").content.decode())


def chosen(page: Element) -> dict[str, str]:
    body = page.one("body")
    shown = {name: body[f"data-{name}"] for name in ("sidebar", "follow", "announce")}
    return {"theme": page.one("html")["data-theme"], **shown}


def test_the_page_is_as_the_system_has_it_until_somebody_chooses(browser: Client) -> None:
    expected = {"theme": "system", "sidebar": "open", "follow": "on", "announce": "whole"}
    assert chosen(home(browser)) == expected


def test_what_is_chosen_by_a_plain_form_holds_from_the_first_byte_on(browser: Client) -> None:
    answer = browser.post("/preferences/", {**CHOSEN, "next": "/chat/"})
    assert (answer.status_code, answer["Location"]) == (303, "/chat/")
    page = home(browser)
    assert chosen(page) == CHOSEN
    picked = {
        field["name"]: field["value"]
        for field in page.one("form", id="preferences").all("input", type="radio")
        if "checked" in field.attrs
    }
    assert picked == {name: CHOSEN[name] for name in ("theme", "follow", "announce")}


def test_it_holds_on_the_pages_of_the_account_too_and_after_the_sign_out(browser: Client) -> None:
    browser.post("/preferences/", {"theme": "dark"})
    browser.post("/accounts/logout/")
    page = parse(browser.get("/accounts/login/").content.decode())
    assert page.one("html")["data-theme"] == "dark"


def test_no_script_reads_what_was_chosen(browser: Client) -> None:
    cookie = browser.post("/preferences/", {"theme": "dark"}).cookies["parley_theme"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


@pytest.mark.parametrize("address", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", ""])
def test_the_way_back_leads_nowhere_else(browser: Client, address: str) -> None:
    answer = browser.post("/preferences/", {"theme": "dark", "next": address})
    assert (answer.status_code, answer["Location"]) == (303, "/")


@pytest.mark.parametrize("fields", [{"theme": "purple"}, {"theme": ""}, {"is_staff": "1"}])
def test_what_cannot_be_chosen_is_refused(browser: Client, fields: dict[str, str]) -> None:
    answer = browser.post("/preferences/", fields)
    assert answer.status_code == 400
    assert not answer.cookies


def test_a_cookie_that_says_something_else_says_nothing(browser: Client) -> None:
    browser.cookies["parley_theme"] = '"><script>'
    assert chosen(home(browser))["theme"] == "system"
