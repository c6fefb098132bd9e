"""What a model writes becomes HTML that is safe in any page, and says what was meant."""

import re
import time
from collections.abc import Callable

import pytest

from chat.rendering import render, writer
from chat.rendering.stream import MarkdownStream
from chat.rendering.wall import clean
from tests.hostile import PAYLOADS
from tests.inspector import inspect


def streamed(source: str) -> str:
    """All that a page is shown of a text while it comes, letter by letter."""
    stream, shown = MarkdownStream(), []
    for letter in source:
        stream.feed(letter)
        stream.close()
        shown.append(stream.open_html())
    return "".join([*shown, *stream.closed])


def without_the_second_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.rendering.blocks.clean", lambda html: html)


def faults_of(render_one: Callable[[str], str]) -> dict[str, list[str]]:
    found = {source: inspect(render_one(source)).faults for source in PAYLOADS}
    return {source: faults for source, faults in found.items() if faults}


def test_nothing_active_and_nothing_of_another_host_comes_through() -> None:
    assert faults_of(render) == {}


def test_the_renderer_is_safe_without_its_second_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_second_wall(monkeypatch)
    assert faults_of(render) == {}


def test_the_second_wall_alone_stops_what_runs_and_what_loads() -> None:
    faults = {fault for source in PAYLOADS for fault in inspect(clean(source)).faults}
    assert faults == {"class composer"}  # classes are the renderer's own matter


def test_nothing_comes_through_while_it_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_second_wall(monkeypatch)
    assert faults_of(streamed) == {}


def test_all_of_them_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    together = "\n\n".join(PAYLOADS)
    assert inspect(render(together)).faults == []
    without_the_second_wall(monkeypatch)
    assert inspect(render(together)).faults == []


@pytest.mark.parametrize(
    "source", ["<script>alert(1)</script>", "Vec<String> and <T>", "{{ 7*7 }}", "a <!-- b -->"]
)
def test_raw_html_is_shown_as_the_text_it_is(source: str) -> None:
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
        ("[x](#part)", "#part"),
        ("[x](/chat/)", "/chat/"),
        ("see https://a.example/b.", "https://a.example/b"),
        ("(https://a.example/b)", "https://a.example/b"),
        ("<alice@example.org>", "mailto:alice@example.org"),
        ("<https://a.example>", "https://a.example"),
    ],
)
def test_a_link_opens_elsewhere_and_tells_nobody_where_it_was(source: str, href: str) -> None:
    (link,) = inspect(render(source)).links
    assert link["href"] == href
    assert link["target"] == "_blank"
    assert set(link["rel"].split()) == {"nofollow", "noopener", "noreferrer", "ugc"}


def test_a_link_that_is_not_safe_is_its_text() -> None:
    assert render("[click **me**](javascript:alert(1))") == '<p dir="auto">click <strong>me</strong></p>'


def test_an_image_is_a_link_to_it_and_never_fetched() -> None:
    html = render("![a *chart*](https://a.example/chart.png)")
    assert "<img" not in html
    inspected = inspect(html)
    assert (inspected.text, inspected.links[0]["href"]) == ("a chart", "https://a.example/chart.png")


def test_an_image_inside_a_link_is_that_link() -> None:
    (link,) = inspect(render("[![logo](https://a.example/l.png)](https://b.example)")).links
    assert link["href"] == "https://b.example"


def test_markdown_becomes_what_it_means() -> None:
    assert render("**b** *i* ~~s~~ `c`") == (
        '<p dir="auto"><strong>b</strong> <em>i</em> <del>s</del> <code>c</code></p>'
    )
    assert render("> q\n\n---") == '<blockquote dir="auto"><p>q</p></blockquote><hr>'
    assert (
        render("1. a\n2. b\n   - c")
        == '<ol start="1" dir="auto"><li>a</li><li>b<ul><li>c</li></ul></li></ol>'
    )


def test_the_page_keeps_its_first_two_levels_of_headings() -> None:
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


def test_what_is_nested_too_deep_is_flat_and_whole() -> None:
    html = render("- " * 1000 + "needle\n\n" + "> " * 1000 + "thread")
    assert html.count("<ul") == html.count("<blockquote") == writer.MAX_NESTING
    assert inspect(html).text == "needlethread"


BOMBS = {
    "quotes": ">" * 100_000,
    "lists": "- " * 50_000 + "x",
    "quoted lists": "> - " * 25_000,
    "numbers": "1. " * 30_000,
    "brackets": "[" * 100_000,
    "images": "![" * 50_000,
    "half links": "[a](b" * 20_000,
    "stars": "**x**a" * 16_000,
    "emphasis": "*a_ " * 25_000,
    "nested emphasis": "*_" * 25_000 + "a" + "_*" * 25_000,
    "ticks": "".join("`" * n + "a" for n in range(400)),
    "a wide table": "|".join("a" * 25_000) + "\n" + "|".join("-" * 25_000),
    "definitions": "".join(f"[a{n}]: /b\n" for n in range(9_000)),
    "references": "[a]: /b\n" + "[a] " * 25_000,
    "addresses": "http://a" * 12_000,
    "half addresses": "http://" + "." * 90_000,
    "comments": "<!--" * 25_000,
    "tags": "<sub>" * 20_000,
    "a slow language": "```perl\n" + "s{" * 9_000 + "\n```\n",
    "many slow blocks": ("```perl\n" + "s{" * 4_000 + "\n```\n") * 12,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_text_costs_little(name: str) -> None:
    began = time.thread_time()
    html = render(BOMBS[name])
    spent = time.thread_time() - began
    assert inspect(html[:100_000]).faults == []
    assert spent < 2.5, f"{spent:.2f} s"  # a tenth of that on an idle machine
