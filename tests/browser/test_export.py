"""Download of a conversation."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.test_accessibility import axe_violations
from tests.browser.test_versions import open_asked
from tests.support.live import Member


@pytest.mark.parametrize("has_scripts", [True, False])
def test_a_conversation_is_downloaded_as_markdown(visit: Visit, alice: Member, has_scripts: bool) -> None:
    page = open_asked(visit, alice, "one", java_script_enabled=has_scripts)
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as Markdown").click()
    assert download.value.suggested_filename == "one.md"
    text = Path(download.value.path()).read_text()
    assert text.startswith("# one\n\n## You · ")
    assert text.endswith("\n\nYou said: one\n")


def test_a_conversation_is_downloaded_as_json(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one")
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as JSON").click()
    found = json.loads(Path(download.value.path()).read_text())
    assert [message["text"] for message in found["messages"]] == ["one", "You said: one"]


def test_an_entry_of_the_list_is_downloaded(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one")
    page.goto("/")
    entry = page.locator(".conversation-entry", has_text="one").first
    entry.hover()
    entry.locator(".entry-button").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Export as Markdown").click()
    assert download.value.suggested_filename == "one.md"
    assert Path(download.value.path()).read_text().endswith("\n\nYou said: one\n")
    expect(page.locator("#entry-menu")).to_be_hidden()


def test_axe_finds_nothing_in_the_export_menu(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one")
    page.get_by_role("button", name="Export").click()
    expect(page.get_by_role("link", name="Export as JSON")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert (scheme, axe_violations(page)) == (scheme, [])
