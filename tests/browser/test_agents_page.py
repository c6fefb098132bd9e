"""The pages of agents in the admin, of the site's owner: reload, an error's traceback, light and dark."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.test_admin import TakeScreenshot, in_both_schemes, take_screenshot
from tests.support.live import LiveServer, Member
from tests.support.speaker import saying, speaker

__all__ = ["take_screenshot"]  # a fixture

PAGE = "/admin/agents/"
# axe itself applies a style, to read a sheet that another one imports
AXE_FAULTS = ["Applying inline style", "preload assets"]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "agents", {**speaker("old"), **saying("import pandas_of_nobody", "forecast")})
    return tmp_path / "agents"


@pytest.fixture
def owner(tmp_path: Path, folder: Path) -> Iterator[Member]:
    server = LiveServer(tmp_path / "data", AGENTS_DIR=str(folder)).prepare().start()
    olga = server.member("olga")
    code = "from accounts.models import User; User.objects.update(is_staff=True, is_superuser=True)"
    done = server.manage("shell", "-c", code)
    assert done.returncode == 0, done.stderr
    with olga:
        yield olga
    server.kill()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_owner_reloads_and_reads_why_an_agent_is_broken(
    visit: Visit, owner: Member, folder: Path, take_screenshot: TakeScreenshot, width: int
) -> None:
    page = visit(owner, viewport={"width": width, "height": 860}, expect_faults=AXE_FAULTS)
    with owner.ask("Hello", agent="speaker") as stream:
        stream.all_events()
    page.goto("/admin/")
    page.get_by_role("link", name="Agents").first.click()
    row = page.locator("#agents tbody tr", has_text="speaker")
    expect(row.locator(".status-label")).to_have_text("Loaded")
    write(folder, saying("def word(:"))
    page.get_by_role("button", name="Reload all agents").click()
    expect(page.get_by_text("All processes have loaded the agents again.")).to_be_visible()
    expect(row.locator(".status-label")).to_have_text("Broken; its last good version answers")
    expect(row.locator(".agent-reason")).to_have_text("There is a syntax error in its code.")
    take_screenshot(page, f"agents-{width}")
    assert in_both_schemes(page) == []
    take_screenshot(page, f"agents-dark-{width}")
    row.get_by_role("link", name="speaker").click()
    page.emulate_media(color_scheme="light")
    expect(page.locator("#load-error")).to_contain_text("SyntaxError")
    expect(page.locator("#load-error")).to_contain_text("speaker/words.py:1")
    page.wait_for_load_state()
    take_screenshot(page, f"agent-{width}")
    assert in_both_schemes(page) == []
    take_screenshot(page, f"agent-dark-{width}")
    assert page.locator("html").evaluate("(html) => html.scrollWidth - html.clientWidth") <= 0
