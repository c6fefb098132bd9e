"""Manifest and icons, which browsers request without a sign-in session."""

import re
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from tests.support.dom import parse

pytestmark = [pytest.mark.any_database, pytest.mark.django_db]


def plain(address: str) -> str:
    """Return the address of a static file without the hash of its content."""
    return re.sub(r"\.[0-9a-f]{12}(?=\.\w+$)", "", address)


def found(address: str) -> Any:
    return finders.find(plain(address).removeprefix("/static/"))


def test_a_visitor_gets_the_manifest() -> None:
    answer = Client().get("/manifest.webmanifest")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/manifest+json")
    manifest = answer.json()
    assert (manifest["name"], manifest["display"], manifest["start_url"]) == ("Parley", "standalone", "/")


def test_the_manifest_has_icons_of_both_sizes_and_purposes() -> None:
    icons = Client().get("/manifest.webmanifest").json()["icons"]
    assert {(icon["sizes"], icon["purpose"]) for icon in icons} == {
        (size, purpose) for size in ("192x192", "512x512") for purpose in ("any", "maskable")
    }
    assert all(found(icon["src"]) for icon in icons)


def test_a_visitor_gets_an_icon_at_the_address_that_old_browsers_request() -> None:
    answer = Client().get("/favicon.ico")
    assert answer.status_code == 302
    assert found(answer["Location"])


def test_pages_name_the_icon_for_a_phones_home_screen() -> None:
    page = parse(Client().get("/accounts/login/").content.decode())
    assert found(page.one("link", rel="apple-touch-icon")["href"])


@pytest.mark.parametrize(
    ("theme", "colors"),
    [("system", ["#fbfaf7", "#181714"]), ("light", ["#fbfaf7"]), ("dark", ["#181714"])],
)
def test_the_bar_of_the_browser_has_the_color_of_the_theme(theme: str, colors: list[str]) -> None:
    client = Client()
    client.cookies["parley_theme"] = theme
    page = parse(client.get("/accounts/login/").content.decode())
    assert [each["content"] for each in page.all("meta", name="theme-color")] == colors
