"""Markdown becomes safe HTML with the meaning of its marks."""

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from multiprocessing import get_context

import pytest

from chat.rendering import render, writer
from chat.rendering.mathml import MAX_STEPS, to_mathml
from chat.rendering.sanitizer import sanitize
from chat.rendering.stream import MarkdownStream
from tests.support.hostile import PAYLOADS
from tests.support.inspector import inspect

pytestmark = pytest.mark.any_database


def streamed(source: str) -> str:
    """Return all HTML that a page shows while a text arrives letter by letter."""
    stream, shown = MarkdownStream(), []
    for letter in source:
        stream.feed(letter)
        stream.close()
        shown.append(stream.open_html())
    return "".join([*shown, *stream.closed])


def disable_sanitizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.rendering.blocks.sanitize", lambda html: html)


def faults_of(render_one: Callable[[str], str]) -> dict[str, list[str]]:
    found = {source: inspect(render_one(source)).faults for source in PAYLOADS}
    return {source: faults for source, faults in found.items() if faults}


def test_no_script_and_no_resource_of_another_host_is_rendered() -> None:
    assert faults_of(render) == {}


def test_the_renderer_is_safe_without_the_sanitizer(monkeypatch: pytest.MonkeyPatch) -> None:
    disable_sanitizer(monkeypatch)
    assert faults_of(render) == {}


def test_the_sanitizer_alone_removes_scripts_and_resources() -> None:
    faults = {fault for source in PAYLOADS for fault in inspect(sanitize(source)).faults}
    assert faults == {"class composer"}  # the sanitizer keeps classes: only the renderer chooses them


def test_a_streamed_text_is_safe_without_the_sanitizer(monkeypatch: pytest.MonkeyPatch) -> None:
    disable_sanitizer(monkeypatch)
    assert faults_of(streamed) == {}


def test_all_payloads_in_one_message_are_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    together = "\n\n".join(PAYLOADS)
    assert inspect(render(together)).faults == []
    disable_sanitizer(monkeypatch)
    assert inspect(render(together)).faults == []


@pytest.mark.parametrize(
    "source", ["<script>alert(1)</script>", "Vec<String> and <T>", "{{ 7*7 }}", "a <!-- b -->"]
)
def test_raw_html_is_shown_as_text(source: str) -> None:
    assert inspect(render(source)).text.strip() == source


def test_a_few_bare_tags_work() -> None:
    assert render("H<sub>2</sub>O<br>x<sup>2</sup> <kbd>Ctrl</kbd> <mark>m</mark>") == (
        '<p dir="auto">H<sub>2</sub>O<br>x<sup>2</sup> <kbd>Ctrl</kbd> <mark>m</mark></p>'
    )


@pytest.mark.parametrize(
    ("source", "href"),
    [
        ("[x](https://a.example/b?c=d&e)", "https://a.example/b?c=d&e"),
        ("[x](HTTPS://a.example)", "HTTPS://a.example"),
        ("[x](mailto:alice@example.org)", "mailto:alice@example.org"),
        ("[x](/chat/)", "/chat/"),
        ("see https://a.example/b.", "https://a.example/b"),
        ("(https://a.example/b)", "https://a.example/b"),
        ("<alice@example.org>", "mailto:alice@example.org"),
        ("<https://a.example>", "https://a.example"),
    ],
)
def test_a_link_opens_a_new_tab_without_a_referrer(source: str, href: str) -> None:
    (link,) = inspect(render(source)).links
    assert link["href"] == href
    assert link["target"] == "_blank"
    assert set(link["rel"].split()) == {"nofollow", "noopener", "noreferrer", "ugc"}


def test_an_in_page_link_stays_in_its_tab() -> None:
    (link,) = inspect(render("[Costs](#costs)")).links
    assert (link["href"], link.get("target")) == ("#costs", None)


def test_an_unsafe_link_is_shown_as_its_text() -> None:
    assert render("[click **me**](javascript:alert(1))") == '<p dir="auto">click <strong>me</strong></p>'


def test_an_image_is_a_link_to_it_and_never_fetched() -> None:
    html = render("![a *chart*](https://a.example/chart.png)")
    assert "<img" not in html
    inspected = inspect(html)
    assert (inspected.text, inspected.links[0]["href"]) == ("a chart", "https://a.example/chart.png")


def test_an_image_inside_a_link_is_that_link() -> None:
    (link,) = inspect(render("[![logo](https://a.example/l.png)](https://b.example)")).links
    assert link["href"] == "https://b.example"


def test_common_markdown_becomes_its_elements() -> None:
    assert render("**b** *i* ~~s~~ `c`") == (
        '<p dir="auto"><strong>b</strong> <em>i</em> <del>s</del> <code>c</code></p>'
    )
    assert render("> q\n\n---") == '<blockquote dir="auto"><p>q</p></blockquote><hr>'
    assert (
        render("1. a\n2. b\n   - c")
        == '<ol start="1" dir="auto"><li>a</li><li>b<ul><li>c</li></ul></li></ol>'
    )


def test_headings_of_a_message_begin_at_the_third_level() -> None:
    assert [re.findall("<h.", render("#" * level + " x"))[0] for level in range(1, 7)] == [
        "<h3", "<h4", "<h5", "<h6", "<h6", "<h6",
    ]  # fmt: skip


def test_code_keeps_every_character_and_has_colours() -> None:
    source = "if a < b and c > d:\n    print('&amp;')\n\n>>>>>>>>>>>>>>>>>>>>>> x\n"
    html = render(f"```python\n{source}```")
    assert inspect(html).text == "python" + source
    assert '<span class="t-k">if</span>' in html


def test_code_in_an_unknown_language_is_plain() -> None:
    assert render("```klingon\nqapla'\n```") == (
        '<figure class="code"><figcaption><span class="language">klingon</span>'
        '<button type="button" class="copy" hidden=""></button></figcaption>'
        '<pre tabindex="0" dir="ltr"><code>qapla\'\n</code></pre></figure>'
    )


def test_a_table_scrolls_by_keyboard_and_is_aligned() -> None:
    html = render("| a | b |\n|:-:|--:|\n| 1 | 2 |")
    assert 'role="region"' in html
    assert 'tabindex="0"' in html
    assert '<th class="ta-center">a</th><th class="ta-right">b</th>' in html
    assert '<td class="ta-center">1</td><td class="ta-right">2</td>' in html


def test_a_task_says_whether_it_is_done() -> None:
    html = render("- [x] a\n- [ ] b")
    assert 'role="img" aria-label="done"' in html
    assert 'role="img" aria-label="to do"' in html


def test_windows_line_ends_are_line_ends() -> None:
    assert render("a\r\n\r\nb") == '<p dir="auto">a</p><p dir="auto">b</p>'


def test_too_deep_nesting_is_flattened_without_losing_text() -> None:
    html = render("- " * 1000 + "needle\n\n" + "> " * 1000 + "thread")
    assert html.count("<ul") == html.count("<blockquote") == writer.MAX_BLOCK_NESTING
    assert inspect(html).text == "needlethread"


# About 100 KB each of input that is hard for parsers.
BOMBS = {
    "quotes": ">" * 100000,
    "lists": "- " * 50000 + "x",
    "quoted lists": "> - " * 25000,
    "numbers": "1. " * 30000,
    "brackets": "[" * 100000,
    "images": "![" * 50000,
    "half links": "[a](b" * 20000,
    "stars": "**x**a" * 16000,
    "emphasis": "*a_ " * 25000,
    "nested emphasis": "*_" * 25000 + "a" + "_*" * 25000,
    "ticks": "".join("`" * n + "a" for n in range(400)),
    "a wide table": "|".join("a" * 25000) + "\n" + "|".join("-" * 25000),
    "definitions": "".join(f"[a{n}]: /b\n" for n in range(9000)),
    "references": "[a]: /b\n" + "[a] " * 25000,
    "addresses": "http://a" * 12000,
    "half addresses": "http://" + "." * 90000,
    "comments": "<!--" * 25000,
    "tags": "<sub>" * 20000,
    "a slow language": "```perl\n" + "s{" * 9000 + "\n```\n",
    "many slow blocks": "".join(f"```perl\n{n} " + "s{" * 2000 + "\n```\n" for n in range(24)),
    "formulas": "$x$ " * 25000,
    "different formulas": "".join(f"$x_{n}$ " for n in range(12000)),
    "openers": "$$\n" * 30001,
    "bracket openers": "\\[\n" * 30000,
    "indented openers": "".join(" " * (n % 7) + "\\[\n" for n in range(20000)),
    "half formulas": "\\(" * 50000,
    "dollars": "$" * 100000,
    "a b dollars": "$a " * 30000,
    "nested formula": "$" + "{" * 20000 + "}" * 20000 + "$",
    "frac": "$" + "\\frac{" * 10000 + "$",
    "paragraphs": "a\n\n" * 30000,
    "rules": "---\n" * 25000,
    "footnotes": "".join(f"[^{n}] " for n in range(15000)),
    "footdefs": "".join(f"[^{n}]: x\n" for n in range(9000)),
    "lines": "a\n" * 50000,
    "one list": "- a\n" * 25000,
    "table rows": "|a|b|\n|-|-|\n" + "|1|2|\n" * 15000,
    "fences": "```\n" * 25001,
    "entities": "&#x41;" * 16000,
    "setext": "a\n=\n" * 25000,
    "backslashes": "\\" * 100000,
    "code lines": "```python\n" + "x = 1\n" * 3000 + "```\n",
    "tildes": "~" * 100000,
    "strikes": "~~a " * 25000,
    "html": "<a " * 30000,
    "alerts": "> [!NOTE]\n> a\n\n" * 6000,
    "nested lists": "".join(" " * (2 * n) + "- a\n" for n in range(300)),
    "crs": "\r" * 100000,
    "links": "[a](http://b) " * 7000,
}


def slowest_step(source: str) -> tuple[float, str]:
    """Return the CPU seconds of the slowest step, and the HTML of a reload.

    The steps are: each of two streamed pieces, the end of the stream, and the reload.
    """
    stream, times = MarkdownStream(), []
    size = len(source) // 2 + 1
    for at in range(0, len(source), size):
        began = time.thread_time()
        stream.feed(source[at : at + size])
        stream.close()
        stream.open_html()
        times.append(time.thread_time() - began)
    began = time.thread_time()
    stream.finish()
    finished = time.thread_time()
    html = render(source)
    return max(*times, finished - began, time.thread_time() - finished), html


PROSE = "Some words, with *emphasis* and a [link](https://example.org/a).\n\n- one\n- two `code`\n\n" * 1500


@cache
def slowest_step_of_prose(size: int) -> float:
    return min(slowest_step(PROSE[:size])[0] for _ in range(3))


# Measured: 12 times what prose of that size costs, at most. On an idle machine that is 0.15 s for what an
# answer can be, and half a second for what a hostile one can be.
@pytest.mark.parametrize("size", [20_000, 100_000])
@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_text_takes_little_cpu_time(name: str, size: int) -> None:
    source = BOMBS[name][:size]
    most = 25 * slowest_step_of_prose(size)
    took, html = slowest_step(source)
    assert inspect(html[:100_000]).faults == []
    assert took < most or slowest_step(source)[0] < most  # retried once: the machine may have paused


NESTED_FORMULAS = {
    "braces": lambda n: "{" * n + "}" * n,
    "fractions": lambda n: "\\frac{" * n,
    "fractions of one letter": lambda n: "\\frac a" * n + "x",
    "powers": lambda n: "x^{" * n + "}" * n,
    "roots": lambda n: "\\sqrt" * n + "x",
    "roots of roots": lambda n: "\\sqrt[" * n,
    "hats": lambda n: "\\hat" * n + "x",
    "letters": lambda n: "\\mathrm{" * n + "}" * n,
    "brackets": lambda n: "\\left(" * n + "\\right)" * n,
    "matrices": lambda n: "\\begin{matrix}" * n + "\\end{matrix}" * n,
    "limits": lambda n: "\\sum\\limits_" * n,
    "negations": lambda n: "\\not" * n + "x",
    "above": lambda n: "\\overset x" * n + "y",
    "macros": lambda n: "".join(f"\\def\\a{chr(97 + i)}{{\\frac" for i in range(26)) + "\\sqrt" * n,
}


@pytest.mark.parametrize("shape", NESTED_FORMULAS)
def test_a_formula_nested_too_deeply_is_shown_as_its_source(shape: str) -> None:
    """math-core recurses: an overflow of its stack would end the process."""
    html = render(f"```math\n{NESTED_FORMULAS[shape](MAX_STEPS + 1)}\n```")
    assert '<code class="tex">' in html


@pytest.mark.parametrize("shape", NESTED_FORMULAS)
def test_the_deepest_formula_that_is_converted_fits_a_quarter_of_a_stack(shape: str) -> None:
    process = get_context("spawn").Process(target=convert_on_a_small_stack, args=(shape,))
    process.start()
    process.join()
    assert process.exitcode == 0  # -11 is an overflow of the stack


def convert_on_a_small_stack(shape: str) -> None:
    threading.stack_size(2 * 1024 * 1024)
    with ThreadPoolExecutor(1) as thread:
        for steps in range(MAX_STEPS // 4, MAX_STEPS + 2, 20):
            thread.submit(to_mathml, NESTED_FORMULAS[shape](steps), display=True).result()


@pytest.mark.parametrize(
    ("source", "mathml"),
    [
        ("$x$", "<math><mi>x</mi></math>"),
        ("\\(x\\)", "<math><mi>x</mi></math>"),
        ("$$x$$", '<math display="block"><mi>x</mi></math>'),
        ("\\[x\\]", '<math display="block"><mi>x</mi></math>'),
        ("the $n$th", "<math><mi>n</mi></math>"),
        ("a\\(x\\)b", "<math><mi>x</mi></math>"),
    ],
)
def test_a_formula_can_be_written_in_four_ways(source: str, mathml: str) -> None:
    assert mathml in render(source)


@pytest.mark.parametrize("opener", ["$$", "\\["])
def test_a_formula_of_several_lines_is_a_block(opener: str) -> None:
    closer = {"$$": "$$", "\\[": "\\]"}[opener]
    html = render(f"Thus\n\n{opener}\nx\n+ y\n{closer}\n\nend")
    assert (
        '<div class="math" dir="ltr"><math display="block"><mi>x</mi><mo>+</mo><mi>y</mi></math></div>'
        in html
    )


@pytest.mark.parametrize(
    "source", ["$5 and $10", "$5-$10, or US$6", "$HOME/$PATH", "US$2,000 ($1,000)", "`$x$`", "\\$x\\$"]
)
def test_prices_and_variables_are_not_formulas(source: str) -> None:
    html = render(source)
    assert "<math" not in html
    assert inspect(html).text == source.replace("`", "").replace("\\", "")


def test_an_invalid_formula_is_shown_as_its_source() -> None:
    assert render("$\\nonsense{x}$") == '<p dir="auto"><code class="tex">\\nonsense{x}</code></p>'


def test_equations_are_aligned_by_classes() -> None:
    html = render("$$\n\\begin{aligned}a&=b\\\\c&=d\\end{aligned}\n$$")
    assert " style=" not in html
    assert html.count('<mtd class="ta-right">') == html.count('<mtd class="ta-left">') == 2


def test_a_footnote_and_its_reference_link_to_each_other() -> None:
    html = render("Claim[^a].\n\n[^a]: The note.")
    assert [link["href"] for link in inspect(html).links] == ["#fn-a", "#fnref-a"]


def test_an_alert_has_the_class_and_the_word_of_its_kind() -> None:
    assert render("> [!WARNING]\n> careful") == (
        '<blockquote class="note-warning" dir="auto"><p class="alert">Warning</p><p>careful</p></blockquote>'
    )


def test_each_block_has_its_own_direction_and_code_is_left_to_right() -> None:
    html = render("שלום\n\n- a\n\n# b\n\n> c\n\n|d|\n|-|\n\n```\ne\n```")
    assert html.count('dir="auto"') == 5
    assert '<pre tabindex="0" dir="ltr">' in html
