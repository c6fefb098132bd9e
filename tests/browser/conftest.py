"""Fixtures and helpers of the browser tests: real Chromium, real server, fake model.

    .venv/bin/pytest -c tests/browser/pytest.ini tests/browser

Each test also fails on a warning or an error in the console (e.g. a violated Content-Security-Policy),
on a dialog, and on a request to another host.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.chromium import HINT, chromium
from tests.support.gemini import Gemini
from tests.support.live import LiveServer, Member

pytest_plugins = ["tests.conftest"]  # tests/conftest.py is above the rootdir of this pytest.ini

# tools/removals.py shortens it, for tests that shall fail.
expect.set_options(timeout=int(os.environ.get("EXPECT_MS", "20000")))

Visit = Callable[..., Page]
SignUp = Callable[[LiveServer, str], Member]


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[..., Browser]]:
    """Return a function that launches Chromium, with the given arguments."""
    path = chromium()
    if not path:
        if "browser" in os.environ.get("REQUIRE_JOBS", "").split(","):
            pytest.fail(HINT)
        pytest.skip(HINT)
    with sync_playwright() as playwright:  # only one of it in a process
        yield lambda *arguments: playwright.chromium.launch(executable_path=path, args=list(arguments))


@pytest.fixture(scope="session")
def browser(launch: Callable[..., Browser]) -> Iterator[Browser]:
    browser = launch()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def server(gemini_server: Gemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start Parley with the real Gemini client, connected to the fake Gemini server."""
    yield from serve(tmp_path_factory.mktemp("parley"), gemini_server)


def serve(data_dir: Path, gemini_server: Gemini) -> Iterator[LiveServer]:
    """Yield a server, and kill it afterwards. A module whose tests empty a table has one of its own."""
    server = LiveServer(
        data_dir, GOOGLE_API_KEY="not-a-key", GOOGLE_GEMINI_BASE_URL=gemini_server.url, LIMITS="off"
    )
    yield server.prepare().start()
    server.kill()


def serve_agents(folder: Path, data_dir: Path, gemini_server: Gemini) -> Iterator[LiveServer]:
    """Yield a server with the agents in ``folder``, and kill it afterwards."""
    server = LiveServer(
        data_dir,
        GOOGLE_API_KEY="not-a-key",
        GOOGLE_GEMINI_BASE_URL=gemini_server.url,
        AGENTS_DIR=str(folder),
        LIMITS="off",
    )
    yield server.prepare().start()
    server.kill()


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start Parley without an API key: with the demo model."""
    server = LiveServer(tmp_path_factory.mktemp("parley-demo"), DEMO_DELAY_SECONDS="0.01")
    yield server.prepare().start()
    server.kill()


@pytest.fixture(scope="session")
def sign_up() -> Iterator[SignUp]:
    """Return a function: ``sign_up(server, name)`` makes a new member of that server.

    The second member of a name is called ``name2``: two tests of one server may use a name, and a module's
    fixture is set up again if another process has taken over a test in between.
    """
    times: Counter[tuple[str, str]] = Counter()
    with ExitStack() as opened:

        def new_member(server: LiveServer, name: str) -> Member:
            times[server.url, name] += 1
            number = times[server.url, name]
            member = server.member(name if number == 1 else f"{name}{number}")
            opened.callback(member.http.close)
            return member

        yield new_member


@pytest.fixture(scope="session")
def alice(server: LiveServer, sign_up: SignUp) -> Member:
    return sign_up(server, "alice")


class Watch:
    """Recorder of faults in a browser context; ``expected`` are patterns of faults that a test provokes."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.faults: list[str] = []
        self.expected: list[str] = []
        context.on("console", self._console)
        context.on("weberror", lambda error: self.faults.append(f"error: {error.error}"))
        context.on("dialog", self._dialog)
        context.on("request", lambda request: self._request(request.url, url))

    def _console(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(f"console: {message.text}")

    def _dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, requested: str, own: str) -> None:
        if not requested.startswith((f"{own}/", f"blob:{own}/", "data:", "about:")):
            self.faults.append(f"request: {requested}")

    def unexpected(self) -> list[str]:
        return [
            fault for fault in self.faults if not any(re.search(pattern, fault) for pattern in self.expected)
        ]


@pytest.fixture
def visit(browser: Browser, gemini: Gemini) -> Iterator[Visit]:
    """Return a function: ``visit(member)`` opens a page in which the member is signed in.

    ``url`` is the server's address if it differs from the member's, or if no one is signed in.
    """
    watches: list[tuple[Watch, BrowserContext]] = []

    def open_page(
        member: Member | None = None, *, url: str = "", expect_faults: list[str] | None = None, **options: Any
    ) -> Page:
        base = url or (member.url if member else "")
        context = browser.new_context(base_url=base, reduced_motion="reduce", **options)
        if member:
            cookies = [(cookie.name, cookie.value) for cookie in member.http.cookies.jar]
            context.add_cookies(
                [{"name": name, "value": value or "", "url": base} for name, value in cookies]
            )
        watch = Watch(context, base)
        watch.expected += expect_faults or []
        watches.append((watch, context))
        return context.new_page()

    yield open_page
    faults = []
    for watch, context in watches:
        context.close()
        faults += watch.unexpected()
    assert faults == []


def ask(page: Page, question: str) -> None:
    page.wait_for_load_state()  # before the scripts load, Enter submits the form
    # On a busy machine, hundreds of lines take more than the 30 s of the default.
    page.get_by_label("Message", exact=True).fill(question, timeout=90_000)
    page.keyboard.press("Enter")


def wait_until_idle(page: Page) -> None:
    """Wait until no answer is streaming."""
    expect(page.locator("body")).to_have_attribute("data-state", "idle")


def shown_texts(page: Page) -> list[str]:
    """Return the displayed texts of the messages, in order."""
    return page.locator("article .bubble, article .prose").all_inner_texts()


def conversation_of(page: Page) -> str:
    found = re.search(r"/chat/([0-9a-f-]{36})/", page.url)
    assert found, page.url
    return found[1]


def stored_texts(member: Member, conversation: str) -> list[str]:
    """Return the texts of a conversation's messages from the API."""
    answer = member.http.get(f"/api/v1/conversations/{conversation}").json()
    return [message["text"] for message in answer["messages"]["items"]]
