"""Constants that the page's scripts repeat from the server."""

import re
from pathlib import Path

from chat import events
from chat.pages.transcript import SHOWN_OUTCOME
from chat.socket.consumer import SIGNED_OUT

SCRIPTS = Path(__file__).parents[1] / "chat" / "static" / "chat"


def constant(script: str, name: str) -> str:
    """Return the source of a constant's value."""
    found = re.search(rf"^const {name} = (.+?);", (SCRIPTS / script).read_text(), re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def test_the_page_listens_to_every_event_of_a_run() -> None:
    names = re.findall(r'"([a-z.]+)"', constant("event_stream.js", "EVENT_NAMES"))
    stored = {
        events.STARTED, events.TEXT, events.THOUGHT, events.TOOL_CALLED, events.TOOL_RETURNED, events.FILE,
        events.AGENT, events.REPLACE, *events.TERMINAL,
    }  # fmt: skip
    # as HTML, text comes as html events (docs/streaming.md)
    assert sorted(names) == sorted(stored - {events.TEXT} | {"html"})


def test_the_page_folds_as_much_of_a_tools_result_as_the_server() -> None:
    assert constant("steps.js", "OUTCOME_MAX") == str(SHOWN_OUTCOME)


def test_the_page_knows_the_close_code_of_a_signed_out_socket() -> None:
    assert constant("socket.js", "SIGNED_OUT") == str(SIGNED_OUT)
