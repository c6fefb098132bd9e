"""The journal, where the database refuses what it writes."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import DatabaseError

from chat import events
from chat.lifecycle import Claim
from chat.models import Message
from chat.runs import follow, journal
from chat.runs.supervisor import supervisor
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Pause, Text
from tests.support.sse_client import terminal_of, text_of


@pytest.fixture(
    params=[
        DatabaseError("refused"),
        UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogate"),
        RuntimeError("a bug of Parley"),
    ],
    ids=lambda error: type(error).__name__,
)
def refusing_database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse each batch that holds the word "poison", after 0.2 s."""
    write = journal.write

    def write_unless_poison(batches: Sequence[Any]) -> Any:
        if any("poison" in row.data for batch in batches for row in batch.rows):
            time.sleep(0.2)
            raise request.param
        return write(batches)

    monkeypatch.setattr(journal, "write", write_unless_poison)


@pytest.mark.parametrize("silence", [0.15, 60], ids=["its run ends meanwhile", "its run goes on"])
async def test_a_refused_batch_fails_its_run(
    as_alice: Client, gemini: Gemini, refusing_database: None, settings: Any, silence: float
) -> None:
    """The reply holds no text that is missing in the log."""
    gemini.on("Say it", [Text("Good. "), Hold(), Text("poison"), Pause(1)])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "Say it"}) as exchange:
        seen = await exchange.until("text")
        settings.SILENCE_SECONDS = silence  # from the next text on
        gemini.release()
        seen += await exchange.all_events()
    end = terminal_of(seen)
    assert (end.name, end.json()["code"]) == ("run.failed", "internal")
    assert text_of(seen) == "Good. "
    assert (await Message.objects.aget(role="assistant")).text == "Good. "


def test_the_events_of_tools_and_agents_hold_no_text_that_a_database_refuses() -> None:
    bad = "a\ud83d\x00"
    for event in (
        events.tool_called(bad, bad, {bad: bad}),
        events.tool_returned(bad, bad, result=bad, elapsed_ms=0),
        events.agent(bad),
        events.file(bad, {"name": bad}, artifact=bad, version=1),
    ):
        assert "\\u0000" not in events.encode_json(event.data).encode().decode()


async def test_an_adk_event_after_the_end_of_its_run_is_refused(as_alice: Client) -> None:
    run = uuid.uuid4()
    writer = supervisor.journal.open(Claim(run, 1), 0)
    await writer.close()
    follow.closed_here(run)
    async with asyncio.timeout(5):
        with pytest.raises(journal.RunLost):
            await writer.record("{}")
