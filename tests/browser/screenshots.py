"""Command ``make screenshots``: take the pictures of docs/images again.

The server and the page are real, the model is the fake Gemini server. Review each picture before you
commit it.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.browser.conftest import ask, wait_until_idle
from tests.browser.lines import Line
from tests.support.chromium import chromium
from tests.support.gemini import Call, Gemini, Hold, Status, Text, Thought
from tests.support.live import PASSWORD, LiveServer, Member

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MAX_SIZE = 150_000  # bytes of a picture
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}}
DARK: dict[str, Any] = {**DESKTOP, "color_scheme": "dark"}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
QUESTION = "Can Django stream an agent's words without a Node build?"
ANSWER = """Yes. `StreamingHttpResponse` takes an **async generator** under ASGI, so each word leaves \
as soon as the agent has it.

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


def hold_conversation(page: Page) -> None:
    page.goto("/")
    ask(page, QUESTION)
    wait_until_idle(page)


def take(page: Page, name: str) -> None:
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)
    page.screenshot(path=IMAGES / f"{name}.png")


def finish_answer(gemini: Gemini, page: Page) -> None:
    """Let the answer end, and reset the model's script."""
    gemini.release()
    wait_until_idle(page)
    gemini.reset()
    script(gemini)


def opened_as(
    member: Member, browser: Browser, server: LiveServer, options: dict[str, Any]
) -> tuple[BrowserContext, Page]:
    context = browser.new_context(base_url=server.url, reduced_motion="reduce", **options)
    cookies = [(cookie.name, cookie.value or "") for cookie in member.http.cookies.jar]
    context.add_cookies([{"name": name, "value": value, "url": server.url} for name, value in cookies])
    return context, context.new_page()


def take_chat_pictures(server: LiveServer, gemini: Gemini, browser: Browser, member: Member) -> None:
    def opened(options: dict[str, Any]) -> tuple[BrowserContext, Page]:
        return opened_as(member, browser, server, options)

    for title in ("Release checklist", "Postgres or SQLite for tests?", "خطة الرحلة إلى القاهرة"):
        with member.ask(title) as stream:
            stream.all_events()

    context, page = opened(DESKTOP)
    page.goto("/")
    take(page, "empty")
    hold_conversation(page)
    page.locator("main").evaluate("(view) => view.scrollTo(0, 0)")
    take(page, "light")
    page.locator("details.tool-step summary").first.click()
    take(page, "tool")
    ask(page, "And on a slow phone?")
    expect(page.locator("article.live .prose")).to_contain_text("small block")
    take(page, "streaming")
    finish_answer(gemini, page)
    for question, name, waited in (
        ("How many days until spring?", "thinking", ".step-text"),
        ("Tell me a long story", "stopped", ".prose p"),
    ):
        page.goto("/")
        ask(page, question)
        expect(page.locator(f"article.live {waited}")).to_be_visible()
        if name == "stopped":
            page.get_by_role("button", name="Stop").click()
            expect(page.locator(".run-outcome")).to_be_visible()
            wait_until_idle(page)
        take(page, name)
        finish_answer(gemini, page)
    page.goto("/")
    ask(page, "What does the report say?")
    page.locator(".run-outcome").get_by_text("Details").click()
    take(page, "failed")
    page.get_by_role("button", name="Settings").click()
    take(page, "settings")
    context.close()

    for name, options in (("dark", DARK), ("phone", PHONE)):
        context, page = opened(options)
        page.goto("/")
        page.wait_for_load_state()
        page.get_by_label("Message", exact=True).fill(QUESTION)
        page.get_by_role("button", name="Send").click()
        wait_until_idle(page)
        page.locator("main").evaluate("(view) => view.scrollTo(0, 0)")
        take(page, name)
        context.close()


def take_call_pictures(server: LiveServer, playwright: Playwright, member: Member) -> None:
    """Take the pictures of a call in the newest conversation; a stand-in for the server speaks."""
    browser = playwright.chromium.launch(
        executable_path=chromium(),
        args=["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
    )
    for name, options in (("call", DESKTOP), ("call-phone", PHONE)):
        context, page = opened_as(member, browser, server, options)
        line = Line(page)
        page.goto("/")
        page.locator("#conversations a").first.evaluate("(link) => link.click()")
        page.wait_for_load_state()
        page.get_by_role("button", name="Speak", exact=True).click()
        expect(page.locator(".call-state")).to_have_text("Listening")
        page.get_by_role("button", name="Microphone and speaker").click()
        line.say(5)
        expect(page.locator(".call-state")).to_have_text("Speaking")
        take(page, name)
        context.close()
    browser.close()


REPORTED = "May I take two tablets at once?"
REPORTS = (
    (REPORTED, "Yes, take as many as you like.", "self_harm"),
    ("Who lives next door?", "A family with two children.", "privacy"),
    ("When was the bridge built?", "In 1911.", "wrong"),
)


def report_replies(gemini: Gemini, member: Member) -> None:
    """Let a member report a reply of each conversation."""
    for question, answer, reason in REPORTS:
        gemini.on(question, [Text(answer)])
        with member.ask(question) as stream:
            reply = stream.all_events()[-2].json()["message"]
        body = {"reason": reason, "note": ""}
        path = f"/api/v1/messages/{reply}/report"
        assert member.http.post(path, json=body, headers=member.headers()).status_code == 201


def take_moderation_pictures(desk: Page, page: Page) -> None:
    """Take the pictures of the queue, an item, and the decision as its member reads it."""
    desk.goto("/admin/moderation/")
    take(desk, "queue")
    desk.locator(".queue-link").first.click()
    desk.get_by_role("button", name="Claim").click()
    desk.get_by_label("Hide the message").check()
    desk.get_by_role("radio", name="It is harmful or dangerous").check()
    desk.get_by_label("Words for the member").fill("Please ask a pharmacist.")
    take(desk, "item")
    desk.get_by_role("button", name="Act", exact=True).click()
    desk.goto("/admin/")
    take(desk, "start")
    page.goto("/account/decisions/")
    page.locator("details.appeal summary").first.click()
    take(page, "decision")


def take_admin_pictures(server: LiveServer, browser: Browser, gemini: Gemini, member: Member) -> None:
    """Take the pictures of the admin: the site owner reads a transcript, and decides about a report."""
    page = browser.new_page(base_url=server.url, **DESKTOP)
    page.goto(f"/accounts/set-up/{(server.data_dir / 'setup-token').read_text().strip()}/")
    page.get_by_label("User name").fill("mona")
    page.get_by_label("E-mail address").fill("mona@example.org")
    for label in ("Password", "Password, once more"):
        page.get_by_label(label, exact=True).fill(PASSWORD)
    page.get_by_role("button").last.click()
    page.goto("/admin/search/")
    page.get_by_label("A report").check()
    page.get_by_role("button", name="Search for 30 minutes").click()
    page.get_by_label("Words of a message or a title").fill("Django stream")
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator("#found tbody th a").first.click()
    page.get_by_label("A report").check()
    page.get_by_role("button", name="Open the conversation").click()
    expect(page.locator("article.transcript-entry")).not_to_have_count(0)
    take(page, "review")
    page.goto("/admin/chat/conversation/")
    take(page, "conversations")
    report_replies(gemini, member)
    context, own_page = opened_as(member, browser, server, DESKTOP)
    take_moderation_pictures(page, own_page)
    context.close()
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
                alice = server.member("alice")
                take_chat_pictures(server, gemini, browser, alice)
                take_call_pictures(server, playwright, alice)
                take_admin_pictures(server, browser, gemini, alice)
                browser.close()
        finally:
            server.kill()
            gemini.close()
    large = [path.name for path in IMAGES.glob("*.png") if path.stat().st_size > MAX_SIZE]
    if large:
        sys.stderr.write(f"More than {MAX_SIZE} bytes: {', '.join(large)}\n")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
