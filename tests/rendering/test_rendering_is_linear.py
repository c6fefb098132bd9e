"""The time to render a hostile reply grows with its length, not with the square of it."""

import time
from collections.abc import Callable

import pytest

from chat.rendering import render
from chat.rendering.stream import MarkdownStream

# Each returns about ``n`` characters that made a parser, a pattern or a sanitizer backtrack.
SHAPES: dict[str, Callable[[int], str]] = {
    "sub": lambda n: "<sub>" * (n // 5),
    "kbd": lambda n: "</kbd>" * (n // 6),
    "mix": lambda n: "<sub></kbd>" * (n // 11),
    "mark pairs": lambda n: "<mark>a</mark>" * (n // 14),
    "sub br": lambda n: "<sub><br>" * (n // 9),
    "indented $$": lambda n: "    $$\n" * (n // 7),
    "$$ lines": lambda n: "$$\n" * (n // 3),
    "$": lambda n: "$" * n,
    "$a": lambda n: "$a " * (n // 3),
    "\\(": lambda n: "\\(" * (n // 2),
    "\\[ lines": lambda n: "\\[\n" * (n // 3),
    "\\[a": lambda n: "\\[a " * (n // 4),
    "[": lambda n: "[" * n,
    "![": lambda n: "![" * (n // 2),
    "[a](": lambda n: "[a](" * (n // 4),
    "[a](<": lambda n: "[a](<b" * (n // 6),
    "]": lambda n: "[" * (n // 2) + "]" * (n // 2),
    "*": lambda n: "*a_b " * (n // 5),
    "**": lambda n: "**a" * (n // 3),
    "*a **": lambda n: "*a **" * (n // 5),
    "_": lambda n: "_a" * (n // 2),
    "~~": lambda n: "~~a" * (n // 3),
    "cjk": lambda n: "**中**" * (n // 5),
    "cjk2": lambda n: "中**" * (n // 3),
    "ticks": lambda n: "".join("`" * k + " " for k in range(1, int((2 * n) ** 0.5))),
    "tick": lambda n: "`a " * (n // 3),
    "table cols": lambda n: "|a" * (n // 4) + "|\n" + "|-" * (n // 4) + "|\n",
    "table rows": lambda n: "|a|b|\n|-|-|\n" + "|a|b|c|d|\n" * (n // 10),
    "bars": lambda n: "|a|\n|-|\n|" + "`|" * (n // 2),
    "bars2": lambda n: "|a|\n|-|\n|" + "$|" * (n // 2) + "$|",
    "wide row": lambda n: "|a|\n|-|\n" + "|" * n,
    "quotes": lambda n: ">" * n,
    "lists": lambda n: "".join(" " * k + "- a\n" for k in range(int(n**0.5))),
    "list1": lambda n: "- " * (n // 2),
    "refs": lambda n: "".join(f"[a{k}]: /b\n" for k in range(n // 10)) + "[a1]",
    "refuses": lambda n: "[a]: /b\n\n" + "[a] " * (n // 4),
    "unk": lambda n: "[a] " * (n // 4),
    "html": lambda n: "<a " * (n // 3),
    "<": lambda n: "<" * n,
    "<!--": lambda n: "<!--" * (n // 4),
    "&": lambda n: "&" * n,
    "&amp": lambda n: "&amp;" * (n // 5),
    "nbsp": lambda n: "\u00a0" * (n // 2),
    "url": lambda n: "http://a.b/" + "(" * n,
    "urls": lambda n: "http://a.b/c) " * (n // 14),
    "www": lambda n: "www." * (n // 4),
    "mail": lambda n: "a@" * (n // 2),
    "mail2": lambda n: "a@b.c" * (n // 5),
    "dots": lambda n: "a." * (n // 2) + "@",
    "headings": lambda n: "#" * n,
    "hr": lambda n: "* " * (n // 2),
    "setext": lambda n: "a\n" * (n // 4) + "=" * (n // 2),
    "footnotes": lambda n: "".join(f"[^{k}]: a\n" for k in range(n // 9)),
    "task": lambda n: "- [ ] a\n" * (n // 8),
    "lines": lambda n: "a\n" * (n // 2),
    "spaces": lambda n: " " * n + "a",
    "tabs": lambda n: "\t" * n + "a",
    "cr": lambda n: "a\r" * (n // 2),
    "backslash": lambda n: "\\" * n,
    "title": lambda n: '[a](b "' + "x" * n + '")',
    "fence": lambda n: "```\n" * (n // 4),
    "tilde": lambda n: "~~~" * (n // 3),
    "long fence": lambda n: "`" * n,
    "shell arguments": lambda n: '"$@" ' * (n // 5),
    "shell variables": lambda n: "$A$B" * (n // 4),
    "shell commands": lambda n: "$(a)" * (n // 4),
    "www in www": lambda n: "www.a.example/?u=https://" * (n // 25),
    "think": lambda n: "<think>" * (n // 7),
    "images in images": lambda n: "![a" * (n // 7) + "](b)" * (n // 7),
    "links in images": lambda n: "![[a" * (n // 12) + "](b)](c)" * (n // 12),
    "emphasis nested": lambda n: "*a " * (n // 6) + "a* " * (n // 6),
}
SMALL, LARGE = 12_000, 48_000
SLOWEST = 9  # times as long for four times the text; the square would be sixteen
NOTHING = 0.01  # seconds of CPU: below it, a ratio is noise


def stream(text: str) -> None:
    written = MarkdownStream()
    written.feed(text)
    written.close()
    written.open_html()


def cpu_of(work: Callable[[str], object], text: str) -> float:
    """Return the CPU seconds of the faster of two tries."""
    # Two, because another process may empty the CPU's caches.
    found = []
    for _try in range(2):
        began = time.thread_time()
        work(text)
        found.append(time.thread_time() - began)
    return min(found)


@pytest.mark.any_database
@pytest.mark.parametrize("work", [render, stream], ids=["whole", "unfinished"])
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_the_time_to_render_grows_with_the_length(shape: str, work: Callable[[str], object]) -> None:
    small, large = cpu_of(work, SHAPES[shape](SMALL)), cpu_of(work, SHAPES[shape](LARGE))
    assert large < SLOWEST * max(small, NOTHING)
