"""Replies of ``tests/rendering/corpus``, which comparable systems show wrong, are rendered correctly."""

import pytest

from chat.rendering import render
from chat.rendering.stream import MarkdownStream
from tests.rendering.campaign import STEP, faults_of
from tests.rendering.corpus import CASES
from tests.support.inspector import inspect
from tests.support.short_form import expected_short_form, short_form

pytestmark = pytest.mark.any_database


@pytest.mark.parametrize("name", CASES)
def test_a_reply_has_the_expected_structure(name: str) -> None:
    html = render(CASES[name].source)
    assert short_form(html) == expected_short_form(CASES[name].expected)
    assert inspect(html).faults == []


@pytest.mark.parametrize("name", CASES)
def test_windows_line_ends_change_nothing(name: str) -> None:
    source = CASES[name].source
    assert render(source.replace("\n", "\r\n")) == render(source)


@pytest.mark.parametrize("name", CASES)
def test_a_streaming_reply_shows_no_raw_mark_and_loses_nothing(name: str) -> None:
    assert list(faults_of(name, range(STEP, len(CASES[name].source), STEP))) == []


# A later line defines a link of an earlier one, or none defines its footnote.
FORWARD = {
    "mixed: a reference and prices",
    "constructs: a footnote that is not defined",
    "constructs: reference links",
}


@pytest.mark.parametrize("name", [name for name in CASES if name not in FORWARD])
def test_a_closed_block_of_a_stream_never_changes(name: str) -> None:
    source = f"Before.\n\n{CASES[name].source}\n\nAfter.\n"
    stream = MarkdownStream()
    for at in range(0, len(source), 3):
        stream.feed(source[at : at + 3])
        stream.close()
    closed = list(stream.closed)
    assert closed
    assert stream.finish()[: len(closed)] == closed
