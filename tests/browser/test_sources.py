"""Sources of an answer, cut results and failed agents, as the page shows them."""

import json
import re
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, ask, wait_until_idle
from tests.support.gemini import Call, Gemini, Raw, Text
from tests.support.live import Member

ANSWER = "**Zürich** liegt am See. Bern ist die Hauptstadt."
HOSTILE = '<img src=x onerror="document.title=1">'


def grounding() -> Raw:
    supports: list[dict[str, Any]] = []
    for end, used in ((ANSWER.index(" Bern"), [0]), (len(ANSWER), [1, 2])):
        size = len(ANSWER[:end].encode())
        supports.append({"segment": {"endIndex": size}, "groundingChunkIndices": used})
    chunks = [
        {"web": {"title": "Zürich", "uri": "https://example.org/zurich"}},
        {"web": {"title": HOSTILE, "uri": "https://evil.example/"}},
        {"retrievedContext": {"title": "Handbook", "uri": "gs://bucket/book"}},
    ]
    metadata = {
        "groundingChunks": chunks,
        "groundingSupports": supports,
        "webSearchQueries": ["Hauptstadt", "See"],
    }
    content = {"role": "model", "parts": [{"text": ""}]}
    candidate = {"content": content, "finishReason": "STOP", "groundingMetadata": metadata}
    return Raw(b"data: " + json.dumps({"candidates": [candidate]}).encode() + b"\r\n\r\n")


# Keeps the first version of each element with this class, before the page takes over the server's.
KEEP_FIRST = """(name) => new MutationObserver((_changes, observer) => {
  const found = document.querySelector(`#messages .${name}`);
  if (!found) return;
  window.firstVersion = found.outerHTML;
  observer.disconnect();
}).observe(document.body, { childList: true, subtree: true })"""


def without_space(html: str) -> str:
    return re.sub(r"\s+(?=<)|(?<=>)\s+", "", html)


def first_version(page: Page) -> str:
    return without_space(page.evaluate("window.firstVersion"))


def test_sources_are_numbers_in_the_text_and_a_list_as_after_a_reload(
    visit: Visit, alice: Member, gemini: Gemini
) -> None:
    gemini.on("Where?", [Text(ANSWER), grounding()])
    page = visit(alice)
    page.goto("/")
    page.evaluate(KEEP_FIRST, "sources")
    ask(page, "Where?")
    wait_until_idle(page)
    numbers = page.locator("article.assistant .prose sup.source")
    expect(numbers).to_have_text(["1", "2", "3"])
    expect(numbers.first.locator("a")).to_have_attribute("href", "https://example.org/zurich")
    expect(numbers.last.locator("a")).to_have_count(0)
    listed = page.locator("article.assistant .sources")
    expect(listed.locator("li")).to_have_text(
        [
            re.compile(r"Zürich\s*example\.org"),
            re.compile(re.escape(HOSTILE) + r"\s*evil\.example"),
            "Handbook",
        ]
    )
    expect(listed.locator("a")).to_have_count(2)
    expect(listed.locator(".searched q")).to_have_text(["Hauptstadt", "See"])
    while_written = first_version(page)
    page.reload()
    assert without_space(listed.evaluate("(section) => section.outerHTML")) == while_written


def test_a_cut_result_says_so_as_after_a_reload(visit: Visit, alice: Member, gemini: Gemini) -> None:
    gemini.on("Sum", [Call("calculate", {"expression": "1" * 40_000})], [Text("Too long.")])
    page = visit(alice)
    page.goto("/")
    ask(page, "Sum")
    wait_until_idle(page)
    note = page.locator("article.assistant .tool-args + .cut-note")
    expect(note).to_have_text("Cut off here. The whole has 40 KB.")
    page.reload()
    expect(note).to_have_text("Cut off here. The whole has 40 KB.")
