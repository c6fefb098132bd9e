"""A text that is still being written: what is shown of it in the end is what a reload shows."""

import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.rendering import render, render_blocks
from chat.rendering.stream import MarkdownStream
from tests.support.html_stream_client import roots
from tests.support.inspector import inspect
from tests.support.markdown import ANSWER, DOCUMENTS, FORWARD

pytestmark = pytest.mark.any_database

MODES = {"char": (1, 1), "token": (1, 12), "burst": (1, 60)}


def pieces(text: str, mode: str, dice: random.Random) -> list[str]:
    cuts, at = [], 0
    while at < len(text):
        size = dice.randint(*MODES[mode])
        cuts.append(text[at : at + size])
        at += size
    return cuts


def write(text: str, mode: str, seed: int = 7) -> tuple[list[str], MarkdownStream]:
    """Return the blocks that were closed before the end, and the stream.

    Assert that a closed block does not change.
    """
    stream = MarkdownStream()
    closed: list[str] = []
    for piece in pieces(text, mode, random.Random(seed)):
        stream.feed(piece)
        stream.close()
        assert stream.closed[: len(closed)] == closed
        closed = list(stream.closed)
        roots(stream.open_html())
    return closed, stream


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_closed_blocks_are_those_of_the_whole_text(name: str, mode: str) -> None:
    text = DOCUMENTS[name]
    closed, stream = write(text, mode)
    final = stream.finish()
    assert final == render_blocks(text)
    assert "".join(final) == render(text)
    assert roots(render(text)) == final
    if name not in FORWARD:
        assert closed == final[: len(closed)]


def test_a_repeated_paragraph_is_closed_each_time() -> None:
    stream = MarkdownStream()
    for times in range(1, 4):
        stream.feed("Again.\n\n")
        stream.close()
        assert len(stream.closed) == times


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_block_is_closed_as_soon_as_the_next_one_has_begun(name: str) -> None:
    closed, stream = write(DOCUMENTS[name] + "\n\nend\n\nof it\n", "char")
    assert len(closed) >= len(stream.finish()) - 2


LINES = sorted({line for text in DOCUMENTS.values() for line in text.replace("\r", "").split("\n")})


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*LINES, "", "", ""]), min_size=2, max_size=14), st.integers(0, 99))
def test_any_order_of_lines_streams_as_a_reload(lines: list[str], seed: int) -> None:
    text = "\n".join(lines)
    _closed, stream = write(text, "token", seed)
    assert stream.finish() == render_blocks(text) == roots(render(text))
    assert inspect(render(text)).faults == []


MARKUP = st.text(alphabet="ab *_`~#>-+1.|[]()<>!$\\{}^&:/\"'=\n\n\t\r\u00e9\U0001f600", max_size=120)


@settings(max_examples=500, deadline=None)
@given(MARKUP | st.text(max_size=60), st.integers(0, 99))
def test_any_order_of_characters_streams_as_a_reload(text: str, seed: int) -> None:
    _closed, stream = write(text, "token", seed)
    assert stream.finish() == render_blocks(text) == roots(render(text))
    assert inspect(render(text)).faults == []


RAW_MARK = re.compile(r"\*\*|~~|`|\]\(|!\[|\$|\\\(|\|[-:]|#{2,}|\[[ x]\]")


def shown(html: str) -> str:
    """Return the visible text without that of code."""
    return inspect(re.sub(r"<(pre|code)\b.*?</\1>", "", html, flags=re.DOTALL)).text


def test_no_raw_mark_of_markdown_is_shown() -> None:
    stream, seen = MarkdownStream(), []
    for letter in ANSWER:
        stream.feed(letter)
        stream.close()
        text = shown("".join(stream.closed) + stream.open_html())
        seen += [text[-40:]] if RAW_MARK.search(text) else []
    assert seen == []


def test_new_words_are_shown_immediately() -> None:
    """Completion holds back marks, not words."""
    stream = MarkdownStream()
    stream.feed("The first words of a paragraph")
    assert inspect(stream.open_html()).text == "The first words of a paragraph"
    stream.feed(", and **bold one")
    assert stream.open_html() == (
        '<p dir="auto">The first words of a paragraph, and <strong>bold one</strong></p>'
    )
    stream.feed("s** and `co")
    assert stream.open_html().endswith("<strong>bold ones</strong> and <code>co</code></p>")


def test_a_long_open_formula_is_shown() -> None:
    stream = MarkdownStream()
    stream.feed("It costs \\(" + "word " * 100)
    assert "word word" in stream.open_html()
    prices = MarkdownStream()
    prices.feed("It costs $5, or $HOME is set, or anything else that goes on for a while")
    assert "goes on" in prices.open_html()


def test_only_a_closed_code_block_has_colours_and_a_copy_button() -> None:
    stream = MarkdownStream()
    stream.feed("```python\nif x:\n    pass\n``")
    assert stream.open_html() == (
        '<figure class="code"><figcaption><span class="language">python</span></figcaption>'
        '<pre tabindex="0" dir="ltr"><code>if x:\n    pass\n</code></pre></figure>'
    )
    stream.feed("`\n")
    stream.close()
    assert 't-k">if</span>' in stream.closed[0]
    assert 'class="copy"' in stream.closed[0]
    assert stream.closed == render_blocks("```python\nif x:\n    pass\n```\n")


def test_a_windows_line_end_in_two_pieces_is_one() -> None:
    stream = MarkdownStream()
    for letter in "a\r\n\r\nb\r\nc\rd":
        stream.feed(letter)
        stream.close()
    assert stream.closed == ['<p dir="auto">a</p>']
    assert stream.finish() == render_blocks("a\n\nb\nc\nd")


def test_an_ordinary_answer_takes_little_cpu_time_to_stream() -> None:
    """5 KB at 320 characters a second, in ticks of 100 ms: see docs/decisions/0019."""
    text = (ANSWER * 8)[:5000]
    stream = MarkdownStream()
    began = time.thread_time()
    for at in range(0, len(text), 32):
        stream.feed(text[at : at + 32])
        stream.close()
        stream.open_html()
    stream.finish()
    spent = time.thread_time() - began
    assert spent < 3 * 0.005 * len(text) / 320, f"{spent:.3f} s"  # thrice 0.5 % of a core
