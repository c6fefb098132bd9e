"""Files: attached to a question, shown in a conversation and listed in its panel; on a phone too."""

import base64
import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import FilePayload, Locator, Page, Route, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, serve, wait_until_idle
from tests.browser.test_accessibility import axe_violations
from tests.browser.test_moderation import PHONE
from tests.support.files import picture
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer, Member

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PICTURE = picture(800, 600)
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
CSV = b"month,sales\nMay,12\nJune,15\n"
MEGABYTE = 1024 * 1024

# Dispatches an event with files, as the browser does for a paste or a drop; returns whether it was prevented.
TRANSFER = """([kind, target, name, type, encoded]) => {
    const data = new DataTransfer();
    const bytes = Uint8Array.from(atob(encoded), (sign) => sign.charCodeAt(0));
    data.items.add(new File([bytes], name, { type }));
    const options = { bubbles: true, cancelable: true };
    const event = kind === "paste"
        ? new ClipboardEvent(kind, { ...options, clipboardData: data })
        : new DragEvent(kind, { ...options, dataTransfer: data });
    return !document.querySelector(target).dispatchEvent(event);
}"""

# Gives a reply the items, whose files its run made.
MADE = """
import json
from chat.files.models import Artifact, File
from chat.models import Message
from chat.rendering import RENDERER_VERSION, render
items = json.loads({items!r})
reply = Message.objects.select_related("run").get(pk={reply!r})
text = "".join(item["text"] for item in items if item["type"] == "text")
for item in items:
    if "file" in item:
        file = File.objects.get(pk=item["file"])
        file.run, file.conversation = reply.run, reply.conversation
        file.save()
        if "version" in item:
            Artifact.objects.create(owner=file.owner, agent=reply.agent, conversation=file.conversation,
                                    name=item["artifact"], version=item["version"], file=file, run=reply.run,
                                    attempt=reply.run.attempt)
Message.objects.filter(pk=reply.pk).update(
    parts={{"v": 1, "items": items}}, text=text, html=render(text), renderer_version=RENDERER_VERSION)
"""


@pytest.fixture(scope="module")
def server(gemini_server: Gemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    yield from serve(tmp_path_factory.mktemp("files"), gemini_server)


@pytest.fixture(scope="module")
def alice(server: LiveServer, sign_up: SignUp) -> Member:
    return sign_up(server, "alice")


def payload(name: str, content: bytes, mime: str = "") -> FilePayload:
    return {"name": name, "mimeType": mime or "application/octet-stream", "buffer": content}


def choose(page: Page, *files: FilePayload) -> None:
    """Choose files with the button of the composer."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Attach files").click()
    assert chooser.value.is_multiple()
    chooser.value.set_files(list(files))


def transfer(page: Page, kind: str, target: str, name: str, mime: str, content: bytes) -> bool:
    encoded = base64.b64encode(content).decode()
    return bool(page.evaluate(TRANSFER, [kind, target, name, mime, encoded]))


def chips(page: Page, state: str = "") -> Locator:
    return page.locator(f'.attachment[data-state="{state}"]' if state else ".attachment")


def wait_until_attached(page: Page, count: int = 1) -> None:
    expect(chips(page, "complete")).to_have_count(count)


def open_page(page: Page, path: str = "/") -> None:
    page.goto(path)
    page.wait_for_load_state()


def upload(member: Member, name: str, content: bytes) -> dict[str, Any]:
    """Upload a file over the API, and return it as an item of a message."""
    headers = {"X-CSRFToken": member.http.cookies["csrftoken"], "Referer": member.url}
    made = member.http.post("/api/v1/files", json={"name": name, "size": len(content)}, headers=headers)
    address = f"/api/v1/files/{made.json()['id']}/parts/0"
    headers["Content-Type"] = "application/octet-stream"
    file = member.http.put(address, content=content, headers=headers).json()
    kept = {key: file[key] for key in ("name", "mime", "size", "width", "height")}
    return {"type": "file", "agent": "chat_assistant", "file": file["id"], **kept}


def give_reply(server: LiveServer, member: Member, conversation: str, items: list[dict[str, Any]]) -> None:
    """Let the newest reply of the conversation consist of these items."""
    found = member.http.get(f"/api/v1/conversations/{conversation}").json()["messages"]["items"]
    code = MADE.format(items=json.dumps(items), reply=found[-1]["id"])
    done = server.manage("shell", "-c", code)
    assert done.returncode == 0, done.stderr


def text_item(text: str) -> dict[str, Any]:
    return {"type": "text", "agent": "chat_assistant", "text": text}


def shoot(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.wait_for_timeout(300)  # pictures fade in
        page.screenshot(path=Path(folder) / f"files-{name}.png")


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


# --- before sending -------------------------------------------------------------------------------


def test_a_pasted_screenshot_is_sent_with_the_question(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    assert transfer(page, "paste", "#query", "image.png", "image/png", PICTURE)
    wait_until_attached(page)
    expect(page.locator(".attachment-name")).to_have_text("image.png")
    assert page.locator(".attachment img").evaluate("(image) => image.naturalWidth") == 800
    expect(page.locator("#announcer")).to_have_text("“image.png” is attached.")
    ask(page, "What is in it?")
    wait_until_idle(page)
    expect(chips(page)).to_have_count(0)
    sent = page.locator("article.user .picture-card img")
    expect(sent).to_have_attribute("alt", "image.png")
    expect(sent).not_to_have_js_property("naturalWidth", 0)
    page.reload()
    expect(sent).to_have_attribute("alt", "image.png")
    expect(page.locator("article.user .bubble")).to_have_text("What is in it?")


def test_text_that_is_pasted_with_a_picture_of_it_stays_text(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    prevented = page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["x"], "a.png", { type: "image/png" }));
            data.setData("text", "copied words");
            const options = { bubbles: true, cancelable: true, clipboardData: data };
            return !document.querySelector("#query").dispatchEvent(new ClipboardEvent("paste", options));
        }"""
    )
    assert not prevented
    expect(chips(page)).to_have_count(0)


def test_a_dropped_pdf_is_sent(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    transfer(page, "dragenter", "#main", "plan.pdf", "application/pdf", PDF)
    expect(page.get_by_text("Drop the files here to attach them")).to_be_visible()
    shoot(page, "drop-target")
    assert transfer(page, "dragover", "#main", "plan.pdf", "application/pdf", PDF)
    assert transfer(page, "drop", "#main", "plan.pdf", "application/pdf", PDF)
    expect(page.locator("#drop-target")).to_be_hidden()
    wait_until_attached(page)
    ask(page, "Sum it up")
    wait_until_idle(page)
    card = page.locator("article.user .pdf-card")
    expect(card.locator("a.file-link")).to_have_attribute("target", "_blank")
    expect(card.locator(".file-name")).to_have_text("plan.pdf")
    expect(card.locator(".file-size")).to_have_text("1 KB")


def test_the_drop_target_goes_when_the_files_are_dragged_away(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    transfer(page, "dragenter", "#main", "a.pdf", "application/pdf", PDF)
    expect(page.locator("#drop-target")).to_be_visible()
    transfer(page, "dragleave", "#main", "a.pdf", "application/pdf", PDF)
    expect(page.locator("#drop-target")).to_be_hidden()


def test_a_file_is_removed_before_it_is_sent(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    choose(page, payload("one.csv", CSV), payload("two.csv", CSV))
    wait_until_attached(page, 2)
    with page.expect_request(lambda request: request.method == "DELETE") as deleted:
        page.get_by_role("button", name="Remove “one.csv”").click()
    answered = deleted.value.response()
    assert answered
    assert answered.status == 204
    expect(chips(page)).to_have_count(1)
    expect(page.get_by_role("button", name="Remove “two.csv”")).to_be_focused()
    expect(page.locator("#announcer")).to_have_text("“one.csv” is removed.")
    page.keyboard.press("Enter")
    expect(chips(page)).to_have_count(0)
    expect(page.get_by_role("button", name="Attach files")).to_be_focused()


def test_a_message_of_files_only_is_sent_by_enter(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    choose(page, payload("sales.csv", CSV))
    wait_until_attached(page)
    page.get_by_label("Message", exact=True).press("Enter")
    wait_until_idle(page)
    expect(page.locator("article.user .other-card .file-name")).to_have_text("sales.csv")
    expect(page.locator("article.user .bubble")).to_be_hidden()
    expect(page.locator("#announcer")).to_have_text("The answer is complete.")
    expect(page.locator("h1.conversation-title")).to_have_text("sales.csv")


def test_a_message_waits_for_the_upload_of_its_files(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    held: list[Route] = []
    page.route("**/parts/*", lambda route: held.append(route))  # noqa: PLW0108
    choose(page, payload("sales.csv", CSV))
    expect(page.locator(".attachment progress")).to_be_visible()
    expect(page.get_by_role("button", name="Send", exact=True)).to_have_attribute("aria-disabled", "true")
    ask(page, "Sum it up")
    expect(page.locator("#notice")).to_have_text("Send this when the files are uploaded.")
    expect(page.locator("article")).to_have_count(0)
    shoot(page, "uploading")
    held[0].continue_()
    wait_until_attached(page)
    expect(page.locator("#notice")).to_be_empty()
    page.get_by_role("button", name="Send", exact=True).click()
    wait_until_idle(page)
    expect(page.locator("article.user .bubble")).to_have_text("Sum it up")


def test_an_upload_goes_on_with_the_missing_parts_after_a_lost_connection(
    visit: Visit, alice: Member
) -> None:
    page = visit(alice, expect_faults=["net::ERR"])
    open_page(page)
    asked: list[str] = []

    def lose_the_second(route: Route) -> None:
        number = route.request.url.rpartition("/")[2]
        asked.append(number)
        if asked == ["0", "1"]:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/parts/*", lose_the_second)
    choose(page, payload("long.txt", b"x" * (2 * MEGABYTE + 5)))
    wait_until_attached(page)
    assert asked == ["0", "1", "1", "2"]


def test_an_upload_is_tried_again_by_its_button(visit: Visit, alice: Member) -> None:
    page = visit(alice, expect_faults=["503"])
    open_page(page)
    refuse = {"error": {"code": "unavailable", "detail": "Not now."}}
    page.clock.install()
    page.clock.pause_at(datetime.now(UTC) + timedelta(seconds=10))  # else the page tries again by itself
    page.route("**/parts/*", lambda route: route.fulfill(status=503, json=refuse))
    choose(page, payload("sales.csv", CSV))
    expect(chips(page, "lost").locator(".attachment-note")).to_contain_text("The connection is lost.")
    shoot(page, "lost")
    page.unroute("**/parts/*")
    page.get_by_role("button", name="Try again").click()
    wait_until_attached(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_composer_with_files_has_no_axe_violations(visit: Visit, alice: Member, scheme: str) -> None:
    page = visit(alice, color_scheme=scheme, expect_faults=["413"])
    open_page(page)
    choose(page, payload("chart.png", PICTURE), payload("sales.csv", CSV))
    wait_until_attached(page, 2)
    page.route("**/api/v1/files", lambda route: route.fulfill(status=413, json={"error": {"detail": "No."}}))
    choose(page, payload("report.pdf", PDF))
    expect(chips(page, "failed")).to_have_count(1)
    assert axe_violations(page) == []


def test_a_refused_upload_says_why(visit: Visit, alice: Member) -> None:
    page = visit(alice, expect_faults=["429"])
    open_page(page)
    refusal = {"error": {"code": "quota", "detail": "All your files have at most 1 GiB."}}
    page.route("**/api/v1/files", lambda route: route.fulfill(status=429, json=refusal))
    choose(page, payload("sales.csv", CSV))
    expect(chips(page, "failed").locator(".attachment-note")).to_have_text(
        "All your files have at most 1 GiB."
    )
    shoot(page, "refused")
    ask(page, "Sum it up")
    expect(page.locator("#notice")).to_have_text("A file was not uploaded. Remove it, or try again.")
    page.unroute("**/api/v1/files")
    page.get_by_role("button", name="Try again").click()
    wait_until_attached(page)
    expect(page.locator("#notice")).to_be_empty()


def test_limits_are_said_before_the_upload(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            const big = new File(["x"], "film.mp4", { type: "video/mp4" });
            Object.defineProperty(big, "size", { value: 30_000_000 });
            data.items.add(new File([], "empty.txt"));
            for (let n = 0; n < 11; n += 1) data.items.add(new File(["x"], `${n}.txt`));
            const files = [big, ...data.files];
            const carried = { types: ["Files"], files, getData: () => "" };
            const event = new Event("drop", { bubbles: true, cancelable: true });
            Object.defineProperty(event, "dataTransfer", { value: carried });
            document.body.dispatchEvent(event);
        }"""
    )
    expect(page.locator("#notice")).to_have_text(
        "“film.mp4” is too large. A file has at most 25 MB. “empty.txt” is empty. "
        "A message has at most 10 files."
    )
    wait_until_attached(page, 10)
    shoot(page, "ten-files")


def test_a_member_learns_what_the_agent_gets_of_a_file(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    choose(page, payload("data.bin", b"\x00\x01\x02"), payload("long.txt", b"x" * MEGABYTE))
    wait_until_attached(page, 2)
    notes = page.locator(".attachment-note")
    expect(notes.first).to_have_text("The agent gets only its name: it cannot read this kind of file.")
    expect(notes.last).to_have_text("The agent gets only its name: it is too large.")


def test_attached_files_survive_a_reload(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    choose(page, payload("photo.png", PICTURE, "image/png"))
    wait_until_attached(page)
    page.reload()
    wait_until_attached(page)
    expect(page.locator(".attachment-name")).to_have_text("photo.png")
    ask(page, "What is in it?")
    wait_until_idle(page)
    expect(page.locator("article.user .picture-card")).to_have_count(1)
    page.reload()
    expect(page.locator("article.user .picture-card")).to_have_count(1)
    expect(chips(page)).to_have_count(0)


def test_a_reload_in_mid_upload_asks_for_the_file_again(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    page.route("**/parts/1", lambda route: None)
    choose(page, payload("long.txt", b"x" * (2 * MEGABYTE)))
    expect(page.locator(".attachment progress")).to_have_js_property("value", 0.5)
    page.reload()
    expect(chips(page, "failed").locator(".attachment-note")).to_have_text(
        "It was not uploaded completely. Add it again."
    )
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    page.get_by_role("button", name="Remove “long.txt”").click()
    expect(chips(page)).to_have_count(0)


def test_files_of_a_refused_message_stay(visit: Visit, alice: Member) -> None:
    page = visit(alice, expect_faults=["422"])
    open_page(page)
    choose(page, payload("sales.csv", CSV))
    wait_until_attached(page)
    ask(page, "x" * 140_000)
    expect(page.locator("#notice")).to_have_text("The message is longer than 128 KiB.")
    wait_until_attached(page)
    expect(page.locator(".attachment-name")).to_have_text("sales.csv")


def test_a_queued_message_keeps_its_files(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("Tell me", [Text("Once"), Hold(), Text(" upon")])
    page = visit(alice)
    open_page(page)
    ask(page, "Tell me")
    expect(page.locator("article.live .prose")).to_have_text("Once")
    choose(page, payload("sales.csv", CSV))
    wait_until_attached(page)
    ask(page, "And this?")
    expect(page.locator(".queued-files")).to_have_text("sales.csv")
    shoot(page, "queued")
    page.get_by_role("button", name="Withdraw").click()
    wait_until_attached(page)
    expect(page.get_by_label("Message", exact=True)).to_have_value("And this?")
    page.keyboard.press("Enter")
    expect(page.locator(".queued-files")).to_have_text("sales.csv")
    gemini.release()
    expect(page.locator("article.user .other-card .file-name")).to_have_text("sales.csv")
    wait_until_idle(page)


def test_an_edited_question_keeps_its_files_or_leaves_them_out(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    choose(page, payload("one.csv", CSV), payload("two.csv", CSV + b"July,1\n"))
    wait_until_attached(page, 2)
    ask(page, "Sum them up")
    wait_until_idle(page)
    question = page.locator("article.user")
    question.hover()
    question.get_by_role("button", name="Edit").click()
    expect(page.get_by_role("checkbox", name="one.csv")).to_be_checked()
    shoot(page, "edit")
    page.get_by_role("checkbox", name="two.csv").uncheck()
    page.get_by_label("Edit the question").fill("Sum it up")
    page.keyboard.press("Enter")
    wait_until_idle(page)
    expect(question.locator(".file-name")).to_have_text(["one.csv"])
    page.reload()
    expect(question.locator(".file-name")).to_have_text(["one.csv"])
    expect(question.locator(".bubble")).to_have_text("Sum it up")
    question.get_by_role("button", name="Previous version").click()
    expect(question.locator(".file-name")).to_have_text(["one.csv", "two.csv"])


# --- in a conversation ----------------------------------------------------------------------------


@pytest.fixture
def drawn(server: LiveServer, alice: Member, visit: Visit, gemini: Gemini) -> str:
    """Return the address of a conversation with two pictures in its answer, and other files around them."""
    page = visit(alice)
    open_page(page)
    choose(page, payload("sketch.png", picture(300, 200), "image/png"))
    wait_until_attached(page)
    ask(page, "Draw it properly")
    wait_until_idle(page)
    first = {**upload(alice, "chart.png", PICTURE), "artifact": "chart.png", "version": 0}
    second = {**upload(alice, "chart.png", picture(500, 900)), "artifact": "chart.png", "version": 1}
    items = [
        text_item("Here is the first **try**:\n\n"),
        first,
        text_item("It was too wide. So I drew it again:\n\n"),
        second,
        upload(alice, "sales.csv", CSV),
        upload(alice, "report.pdf", PDF),
        text_item("Do you like it?"),
        {
            "type": "file",
            "agent": "chat_assistant",
            "name": "old.txt",
            "version": 2,
            "note": "Until a restart.",
        },
    ]
    give_reply(server, alice, conversation_of(page), items)
    return page.url


@pytest.mark.parametrize(
    ("device", "scheme"),
    [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")],
    ids=["desktop", "desktop-dark", "phone", "phone-dark"],
)
def test_an_agents_files_are_shown_in_order_with_the_text(
    visit: Visit, alice: Member, drawn: str, device: dict[str, Any], scheme: str
) -> None:
    page = visit(alice, color_scheme=scheme, **device)
    open_page(page, drawn)
    name = f"{'phone' if device is PHONE else 'desktop'}-{scheme}"
    order = page.locator("article.assistant > .prose, article.assistant .file-card, article.assistant .step")
    expect(order).to_have_count(8)
    kinds = order.evaluate_all("(all) => all.map((each) => each.className)")
    assert kinds == [
        "step file-step", "prose", "file-card picture-card", "prose", "file-card picture-card",
        "file-card other-card", "file-card pdf-card", "prose",
    ]  # fmt: skip
    expect(order.first).to_contain_text("old.txt")
    box = order.nth(2).locator("img").bounding_box()
    assert box
    assert box["width"] / box["height"] == pytest.approx(4 / 3, rel=0.02)
    assert fits(page)
    assert axe_violations(page) == []
    page.locator("#main").evaluate("(main) => main.scrollTo(0, 0)")
    shoot(page, f"reply-{name}")

    order.nth(2).locator("a").click()
    expect(page.get_by_role("dialog")).to_contain_text("chart.png")
    expect(page.locator("#lightbox-place")).to_have_text("2 of 3")
    expect(page.locator("#lightbox-picture")).to_have_js_property("naturalWidth", 800)
    assert axe_violations(page) == []
    shoot(page, f"lightbox-{name}")
    page.keyboard.press("Escape")

    page.get_by_role("link", name="Files", exact=True).click()
    panel = page.get_by_role("dialog", name="Files")
    expect(panel.locator("#files-list > .listed-files > li > .listed-file .file-name")).to_have_text(
        ["chart.png", "sales.csv", "report.pdf", "sketch.png"]
    )
    panel.get_by_text("1 earlier version").click()
    expect(panel.locator(".older-versions .file-version")).to_have_text("version 0")
    assert fits(page)
    assert axe_violations(page) == []
    shoot(page, f"panel-{name}")


def test_the_lightbox_is_used_by_keys(visit: Visit, alice: Member, drawn: str) -> None:
    page = visit(alice)
    open_page(page, drawn)
    link = page.locator("article.assistant .picture-card a").first
    link.focus()
    page.keyboard.press("Enter")
    place = page.locator("#lightbox-place")
    expect(place).to_have_text("2 of 3")
    page.keyboard.press("ArrowRight")
    expect(place).to_have_text("3 of 3")
    page.keyboard.press("ArrowRight")
    expect(place).to_have_text("3 of 3")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(place).to_have_text("1 of 3")
    expect(page.locator("#lightbox-name")).to_have_text("sketch.png")
    download = page.get_by_role("dialog").get_by_role("link", name="Download")
    with page.expect_download() as downloaded:
        download.press("Enter")
    assert downloaded.value.suggested_filename == "sketch.png"
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(link).to_be_focused()


def test_a_picture_takes_its_place_before_it_is_loaded(visit: Visit, alice: Member, drawn: str) -> None:
    page = visit(alice)
    page.route("**/thumbnails/*", lambda route: None)
    page.goto(drawn, wait_until="domcontentloaded")
    box = page.locator("article.assistant .picture-card img").first.bounding_box()
    assert box
    assert (box["width"], box["height"]) == (384, 288)


def test_a_picture_that_is_gone_leaves_a_sentence(visit: Visit, alice: Member, drawn: str) -> None:
    page = visit(alice, expect_faults=["404"])
    page.route("**/thumbnails/*", lambda route: route.fulfill(status=404))
    page.route("**/files/*/*", lambda route: route.fulfill(status=404))
    open_page(page, drawn)
    missing = page.locator("article.assistant .file-missing")
    expect(missing.first).to_contain_text("chart.png This picture is no longer there.")
    expect(page.locator("article.assistant .picture-card a").first).to_be_hidden()
    shoot(page, "missing")


def test_the_panel_of_a_conversation_without_files_says_so(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    ask(page, "Hello")
    wait_until_idle(page)
    button = page.get_by_role("link", name="Files", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="Files")
    expect(panel).to_contain_text("This conversation has no files yet.")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(button).to_be_focused()


def test_a_stranger_gets_404_for_another_members_files(
    visit: Visit, server: LiveServer, alice: Member, sign_up: SignUp, drawn: str
) -> None:
    page = visit(alice)
    open_page(page, drawn)
    links = page.locator("article .file-card a").evaluate_all("(all) => all.map((each) => each.href)")
    pictures = page.locator("article .file-card img").evaluate_all("(all) => all.map((each) => each.src)")
    assert len(pictures) == 3
    bob = sign_up(server, "bob")
    for address in [*links, *pictures, f"{drawn}files/"]:
        assert alice.http.get(address).status_code == 200, address
        assert bob.http.get(address).status_code == 404, address
    assert bob.http.get(f"/files/{uuid.uuid4()}/chart.png").status_code == 404


def test_scripts_in_a_file_do_not_run(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    open_page(page)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>parent.top.hacked = 1</script></svg>'
    html = b"<!doctype html><script>opener.hacked = 1; alert(1)</script>"
    choose(
        page,
        payload("a.svg", svg, "image/svg+xml"),
        payload("b.html", html, "text/html"),
        payload('"><img src=x onerror=alert(1)>.png', PICTURE, "image/png"),
    )
    wait_until_attached(page, 3)
    ask(page, "What are they?")
    wait_until_idle(page)
    expect(page.locator("article.user .other-card")).to_have_count(2)
    expect(page.locator("article.user .picture-card")).to_have_count(1)
    for card in page.locator("article.user .other-card a").all():
        with page.expect_download():  # not opened in a tab
            card.click()
    assert page.evaluate("window.hacked") is None
