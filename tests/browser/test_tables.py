"""Tables in an answer: words are not broken, and only the table scrolls sideways."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, wait_until_idle
from tests.support.gemini import Gemini, Text
from tests.support.live import Member

WIDTHS = pytest.mark.parametrize("width", [1280, 390])


def table(heads: list[str], *rows: list[str]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


TEN = table(
    ["Name", "Quantity", "Unit price", "Currency", "Department", "Responsible", "Ordered", "Delivered",
     "Status", "Remarks"],
    ["Keyboard", "1200", "3.50", "EUR", "Procurement", "Catherine", "2026-11-28", "2026-12-01",
     "Outstanding", "Delivered in three parts because of the weather"],
)  # fmt: skip
NUMBERS = table(
    ["Account", "Debit", "Credit", "Balance", "Interest", "Reference"],
    *[["Operations", "1,234,567,890.12", "9,876,543,210.98", "-8,641,975,320.86", "0.0123456789012345",
       "20261128000000123456789"]] * 2,
)  # fmt: skip
LONG_WORD = table(["Term", "Meaning", "Note"], ["Donaudampfschifffahrts" * 3, "a company", "once"])
ADDRESS = table(
    ["Site", "Address", "Owner"],
    ["docs", "https://example.org/" + "segment_without_a_break" * 4 + "/page?id=1", "Documentation"],
)
CODE = table(
    ["Function", "Signature", "Since"],
    ["`read_everything_at_once`", "`parley.streams.reader.read_everything_at_once(path)`", "`2.13.0`"],
)
CHINESE = table(
    ["名称", "说明", "备注"],
    ["键盘", "这是一个用于输入文字的设备，通常连接到计算机。", "需要在下个月之前完成采购流程"],
    ["显示器", "用于显示图像的设备，分辨率很高。", "无"],
)
JAPANESE = table(
    ["項目", "数量", "単価", "通貨", "部署", "担当", "注文", "納品", "状態", "備考"],
    ["鍵盤", "千二百", "三百円", "日本円", "購買部", "山田", "十一月", "十二月", "未完了", "天候のため"],
)
KOREAN = table(["이름", "설명", "비고"], ["키보드", "컴퓨터에 연결하여 문자를 입력하는 장치", "다음달까지"])
KINDS = {
    "ten columns": TEN,
    "long numbers": NUMBERS,
    "a long word": LONG_WORD,
    "an address": ADDRESS,
    "code": CODE,
    "Chinese": CHINESE,
    "Japanese": JAPANESE,
    "Korean": KOREAN,
    "in a quote": "\n".join(f"> {line}" for line in TEN.splitlines()),
    "in a list": "- Orders:\n\n" + "\n".join(f"  {line}" for line in TEN.splitlines()),
}

# The words in cells that are broken across lines.
BROKEN = r"""(cells) => cells.flatMap((cell) => {
    const found = [];
    const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        for (const word of walker.currentNode.data.matchAll(/[\p{L}\p{N}.,_]+/gu)) {
            const range = document.createRange();
            range.setStart(walker.currentNode, word.index);
            range.setEnd(walker.currentNode, word.index + word[0].length);
            const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
            if (lines.size > 1) found.push(word[0]);
        }
    }
    return found;
})"""
SIDEWAYS = "(element) => element.scrollWidth - element.clientWidth"


def table_of_answer(page: Page, gemini: Gemini, text: str) -> Any:
    """Ask a question that is answered with ``text``; return the table in the answer."""
    gemini.on("table", [Text(text)])
    page.goto("/")
    page.get_by_label("Message", exact=True).fill("table")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("article.assistant")).to_have_count(1)
    wait_until_idle(page)
    return page.locator(".prose .table")


@WIDTHS
@pytest.mark.parametrize("kind", KINDS)
def test_words_in_a_table_stay_whole(
    visit: Visit, alice: Member, gemini: Gemini, kind: str, width: int
) -> None:
    page = visit(alice, viewport={"width": width, "height": 800})
    shown = table_of_answer(page, gemini, KINDS[kind])
    assert shown.locator("th, td").evaluate_all(BROKEN) == []


@WIDTHS
@pytest.mark.parametrize("kind", KINDS)
def test_a_wide_table_never_moves_the_page_sideways(
    visit: Visit, alice: Member, gemini: Gemini, kind: str, width: int
) -> None:
    page = visit(alice, viewport={"width": width, "height": 800})
    table_of_answer(page, gemini, KINDS[kind])
    assert page.locator("html").evaluate(SIDEWAYS) == 0
    assert page.locator("main").evaluate(SIDEWAYS) == 0


@WIDTHS
@pytest.mark.parametrize("kind", ["ten columns", "long numbers", "a long word", "in a quote", "in a list"])
def test_a_wide_table_scrolls_sideways_by_the_keyboard(
    visit: Visit, alice: Member, gemini: Gemini, kind: str, width: int
) -> None:
    page = visit(alice, viewport={"width": width, "height": 800})
    shown = table_of_answer(page, gemini, KINDS[kind])
    assert shown.evaluate(SIDEWAYS) > 0
    shown.focus()
    page.keyboard.press("ArrowRight")
    expect(shown).not_to_have_js_property("scrollLeft", 0)
