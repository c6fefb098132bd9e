"""Display preferences: stored in a cookie and rendered by the server."""

from typing import Any

import pytest
from django.test import Client

from tests.support.dom import Element, parse

pytestmark = pytest.mark.any_database

CHOSEN = {"theme": "dark", "sidebar": "closed", "follow": "off", "notify": "on", "announce": "blocks"}


@pytest.fixture
def browser(alice: Any) -> Client:
    client = Client()
    client.force_login(alice)
    return client


def home(browser: Client) -> Element:
    return parse(browser.get("/").content.decode())


def chosen(page: Element) -> dict[str, str]:
    body = page.one("body")
    shown = {name: body[f"data-{name}"] for name in ("sidebar", "follow", "notify", "announce")}
    return {"theme": page.one("html")["data-theme"], **shown}


def test_the_page_follows_the_system_until_a_user_chooses(browser: Client) -> None:
    expected = {"theme": "system", "sidebar": "open", "follow": "on", "notify": "off", "announce": "whole"}
    assert chosen(home(browser)) == expected


def test_a_choice_by_a_plain_form_is_in_the_html_of_the_next_page(browser: Client) -> None:
    answer = browser.post("/preferences/", {**CHOSEN, "next": "/chat/"})
    assert (answer.status_code, answer["Location"]) == (303, "/chat/")
    page = home(browser)
    assert chosen(page) == CHOSEN
    picked = {
        field["name"]: field["value"]
        for field in page.one("form", id="preferences").all("input", type="radio")
        if "checked" in field.attrs
    }
    assert picked == {name: CHOSEN[name] for name in ("theme", "follow", "notify", "announce")}


def test_a_choice_applies_to_account_pages_and_after_the_sign_out(browser: Client) -> None:
    browser.post("/preferences/", {"theme": "dark"})
    browser.post("/accounts/logout/")
    page = parse(browser.get("/accounts/login/").content.decode())
    assert page.one("html")["data-theme"] == "dark"


def test_the_cookie_is_hidden_from_scripts(browser: Client) -> None:
    cookie = browser.post("/preferences/", {"theme": "dark"}).cookies["parley_theme"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


@pytest.mark.parametrize("address", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", ""])
def test_a_redirect_to_another_site_is_replaced_by_the_home_page(browser: Client, address: str) -> None:
    answer = browser.post("/preferences/", {"theme": "dark", "next": address})
    assert (answer.status_code, answer["Location"]) == (303, "/")


@pytest.mark.parametrize(
    "fields",
    [
        {"theme": "purple"},
        {"theme": ""},
        {"is_staff": "1"},
        {"time_zone": "Mars"},
        {"time_zone": "../etc/passwd"},
    ],
)
def test_unknown_choices_are_refused(browser: Client, fields: dict[str, str]) -> None:
    answer = browser.post("/preferences/", fields)
    assert answer.status_code == 400
    assert not answer.cookies


def test_unknown_cookie_values_fall_back_to_the_default(browser: Client) -> None:
    browser.cookies["parley_theme"] = '"><script>'
    assert chosen(home(browser))["theme"] == "system"


@pytest.mark.parametrize(
    "name", ["Asia/Tokyo", "Asia/Calcutta"]
)  # Chromium reports some zones by an old name
def test_a_page_is_rendered_in_the_stored_time_zone(browser: Client, name: str) -> None:
    assert home(browser).one("body")["data-time-zone"] == "UTC"
    browser.post("/preferences/", {"time_zone": name})
    assert home(browser).one("body")["data-time-zone"] == name


@pytest.mark.parametrize("name", ["Mars", "../../etc/passwd", "/etc/passwd", "\x00", "Europe"])
def test_an_unknown_time_zone_in_the_cookie_is_ignored(browser: Client, name: str) -> None:
    browser.cookies["parley_time_zone"] = name
    assert home(browser).one("body")["data-time-zone"] == "UTC"


def test_a_time_zone_applies_to_its_own_browser_only(browser: Client, bob: Any) -> None:
    browser.post("/preferences/", {"time_zone": "Asia/Tokyo"})
    assert home(browser).one("body")["data-time-zone"] == "Asia/Tokyo"
    other = Client()
    other.force_login(bob)
    assert home(other).one("body")["data-time-zone"] == "UTC"
