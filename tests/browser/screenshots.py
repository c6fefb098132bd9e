"""The pictures of the page in docs/images, made anew: ``make screenshots``.

The real server and the real page; the model's side is the tests' own. Look at each picture before it is
committed.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.conftest import ask, settled
from tests.chromium import chromium
from tests.gemini import Call, Gemini, Hold, Status, Text, Thought
from tests.live import PASSWORD, LiveServer, Member

IMAGES = Path(__file__).parents[2] / "docs" / "images"
LARGEST = 150_000  # bytes a picture
DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}}
DARK: dict[str, Any] = {**DESK, "color_scheme": "dark"}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
QUESTION = "Can Django stream an agent's words without a Node build?"
ANSWER = """Yes. `StreamingHttpResponse` takes an **async generator** under ASGI, so each word leaves as
soon as the agent has it.

### The view

```python
async def events(request, run_id):
    async def frames():
        async for event in follow(run_id):  # resumes by id
            yield f"id: {event.seq}\\ndata: {event.json}\\n\\n"
    return StreamingHttpResponse(frames(), content_type="text/event-stream")
```

### What it costs

| Path | p50 | p95 |
|---|--:|--:|
| first byte | 4 ms | 9 ms |
| each tick | 0.1 ms | 0.4 ms |

1. Gather words for about 80 ms.
2. Send *finished* blocks once, and the open one each time.
"""


def script(gemini: Gemini) -> None:
    gemini.on(
        QUESTION,
        [Thought("They ask about ASGI."), Call("calculate", {"expression": "1000 / 80"})],
        [Text(ANSWER)],
    )
    gemini.on("And on a slow phone?", [Text("The browser changes **one** small block, so even a"), Hold()])
    gemini.on("How many days until spring?", [Thought("Spring begins on 20 March. Let me count."), Hold()])
    gemini.on("Tell me a long story", [Text("Once upon a time, in a house by the sea,"), Hold()])
    gemini.on("What does the report say?", [Status(400, "INVALID_ARGUMENT")])
    for title in ("Release checklist", "Postgres or SQLite for tests?", "خطة الرحلة إلى القاهرة"):
        gemini.on(title, [Text("Here it is.")])


def converse(page: Page) -> None:
    page.goto("/")
    ask(page, QUESTION)
    settled(page)


def look(page: Page, name: str) -> None:
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)
    page.screenshot(path=IMAGES / f"{name}.png")


def go_on(gemini: Gemini, page: Page) -> None:
    """To the answer's end, and everything may be asked anew."""
    gemini.release()
    settled(page)
    gemini.reset()
    script(gemini)


def pictures(server: LiveServer, gemini: Gemini, browser: Browser, member: Member) -> None:
    def opened(options: dict[str, Any]) -> tuple[BrowserContext, Page]:
        context = browser.new_context(base_url=server.url, reduced_motion="reduce", **options)
        cookies = [(cookie.name, cookie.value or "") for cookie in member.http.cookies.jar]
        context.add_cookies([{"name": name, "value": value, "url": server.url} for name, value in cookies])
        return context, context.new_page()

    for title in ("Release checklist", "Postgres or SQLite for tests?", "خطة الرحلة إلى القاهرة"):
        with member.ask(title) as response:
            response.read()

    context, page = opened(DESK)
    page.goto("/")
    look(page, "empty")
    converse(page)
    page.locator("main").evaluate("(view) => view.scrollTo(0, 0)")
    look(page, "light")
    page.locator("details.tool summary").first.click()
    look(page, "tool")
    ask(page, "And on a slow phone?")
    expect(page.locator("article.live .prose")).to_contain_text("small block")
    look(page, "streaming")
    go_on(gemini, page)
    for question, name, waited in (
        ("How many days until spring?", "thinking", ".step-text"),
        ("Tell me a long story", "stopped", ".prose p"),
    ):
        page.goto("/")
        ask(page, question)
        expect(page.locator(f"article.live {waited}")).to_be_visible()
        if name == "stopped":
            page.get_by_role("button", name="Stop").click()
            expect(page.locator(".outcome")).to_be_visible()
            settled(page)
        look(page, name)
        go_on(gemini, page)
    page.goto("/")
    ask(page, "What does the report say?")
    page.locator(".outcome").get_by_text("Details").click()
    look(page, "failed")
    page.get_by_role("button", name="Settings").click()
    look(page, "settings")
    context.close()

    for name, options in (("dark", DARK), ("phone", PHONE)):
        context, page = opened(options)
        page.goto("/")
        page.wait_for_load_state()
        page.get_by_label("Message", exact=True).fill(QUESTION)
        page.get_by_role("button", name="Send").click()
        settled(page)
        page.locator("main").evaluate("(view) => view.scrollTo(0, 0)")
        look(page, name)
        context.close()


def review(server: LiveServer, browser: Browser) -> None:
    """The site's owner reads a transcript in the admin."""
    page = browser.new_page(base_url=server.url, **DESK)
    page.goto(f"/accounts/set-up/{(server.data_dir / 'setup-token').read_text().strip()}/")
    page.get_by_label("User name").fill("mona")
    page.get_by_label("E-mail address").fill("mona@example.org")
    for label in ("Password", "Password, once more"):
        page.get_by_label(label, exact=True).fill(PASSWORD)
    page.get_by_role("button").last.click()
    page.goto("/admin/chat/conversation/")
    page.get_by_role("link", name=QUESTION[:30]).first.click()
    look(page, "review")
    page.goto("/admin/chat/conversation/")
    look(page, "conversations")
    page.close()


def main() -> int:
    IMAGES.mkdir(parents=True, exist_ok=True)
    gemini = Gemini()
    script(gemini)
    with tempfile.TemporaryDirectory(prefix="parley-pictures-") as folder:
        server = LiveServer(
            Path(folder), GOOGLE_API_KEY="not-a-key", GOOGLE_GEMINI_BASE_URL=gemini.url, LIMITS="off"
        )
        server.prepare().start()
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium())
                pictures(server, gemini, browser, server.member("alice"))
                review(server, browser)
                browser.close()
        finally:
            server.kill()
            gemini.close()
    large = [path.name for path in IMAGES.glob("*.png") if path.stat().st_size > LARGEST]
    if large:
        sys.stderr.write(f"More than {LARGEST} bytes: {', '.join(large)}\n")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
