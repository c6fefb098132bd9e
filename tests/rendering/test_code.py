"""Syntax highlighting: no input makes an offered lexer slow."""

import time
from itertools import cycle
from typing import Any

import pytest
from pygments.lexer import RegexLexer

from chat.rendering import render
from chat.rendering.code import BLOCK_SECONDS, FUZZED_LANGUAGES, MAX_HIGHLIGHTED, WINDOW, lexer_of
from tests.support.campaigns import every_nth
from tests.support.inspector import inspect

pytestmark = pytest.mark.any_database

# Openers whose end a regular expression searches, to be repeated.
PIECES = [
    "(", "[", "{", "<", ")", "}", "'", '"', "`", "\\", "/", "/*", "//", "#", "--", "<!--", "$", "${",
    "#{", "@", "%", "=", ":", ";", ",", ".", "-", "&", "~", "^", "!", "_", "a", "A", "0", "1e", " ",
    "\t", "\n", "\r", "a ", "a(", "a.", "a<", "a\n", "a b ", "\\'", '\\"', "'''", '"""', "<<a",
    "<<'a'\n", "s{", "q(", "=begin\n", "{{", "<?", "<a ", "<a b=", "<script>", "(*", "{-", "[[", "[=",
    '@"', '$"', "0x", "/a", "class a", "select ", "**a", "中", "[a](", "a, ", "~s(", "é",
]  # fmt: skip


def repeated(piece: str, size: int) -> str:
    return (piece * size)[:size]


def on_lines(piece: str, size: int) -> str:
    return repeated(f"{piece}\n", size)


def in_long_lines(piece: str, size: int) -> str:
    return repeated(repeated(piece, 100) + "\n", size)


SHAPES = [repeated, on_lines, in_long_lines]
# Measured 6 ms at most. A thread's CPU time also counts what the garbage collector does.
LONGEST_STEP = 0.05


def longest_step(language: str, source: str) -> float:
    """Return the CPU seconds of the slowest token within a block's time."""
    lexer: Any = lexer_of(language)
    began = last = time.thread_time()
    longest = 0.0
    for _token in lexer.get_tokens(source):
        now = time.thread_time()
        longest, last = max(longest, now - last), now
        if now - began > BLOCK_SECONDS:
            break
    return max(longest, time.thread_time() - last)


@pytest.mark.parametrize("language", every_nth(sorted(FUZZED_LANGUAGES), 4))
def test_each_token_takes_little_cpu_time(language: str) -> None:
    """The deadline is checked between tokens, so it holds only if each token is short."""
    is_bounded = isinstance(lexer_of(language), RegexLexer)
    size = WINDOW * 9 // 8 if is_bounded else MAX_HIGHLIGHTED
    for piece, shape in zip(PIECES, cycle(SHAPES), strict=False):
        source = shape(piece, size)
        if longest_step(language, source) > LONGEST_STEP:  # try again: the machine may have paused
            assert longest_step(language, source) < LONGEST_STEP, piece


SLOW = {
    "a delegating lexer": "html+ng2",
    "a template's lexer": "html+django",
    "a lexer of Perl 6": "raku",
    "a lexer that guesses": "guess",
}


@pytest.mark.parametrize("name", SLOW)
def test_a_language_that_is_not_offered_is_plain(name: str) -> None:
    source = "(" * 8000
    began = time.thread_time()
    html = render(f"```{SLOW[name]}\n{source}\n```")
    assert time.thread_time() - began < 0.5  # it was 6 s
    assert inspect(html).text == f"{SLOW[name]}{source}\n"
    assert '<span class="t-' not in html


@pytest.mark.parametrize(
    "language",
    ["py", "js", "ts", "sh", "yml", "c++", "c#", "golang", "rs", "rb", "zsh", "r", "hcl", "makefile"],
)
def test_the_usual_short_names_have_colours(language: str) -> None:
    assert 'class="t-' in render(f"```{language}\nif (x == 1) {{ return 'a'; }} // 2\nA: b\n```")


def test_a_long_comment_does_not_change_the_code_after_it() -> None:
    html = render("```js\n/*" + " words\n" * 200 + "*/\nreturn 1;\n```")
    assert '<span class="t-k">return</span>' in html


def test_the_longest_code_with_colours_is_rendered_in_time() -> None:
    line = "for (let i = 0; i < 10; i++) { f(i, 'a'); } // words\n"
    source = (line * MAX_HIGHLIGHTED)[: MAX_HIGHLIGHTED - len(line)]
    began = time.thread_time()
    render(f"```js\n{source}\n```")
    assert time.thread_time() - began < 3 * BLOCK_SECONDS
