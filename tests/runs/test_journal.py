"""The journal, where the database refuses what it writes."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import DatabaseError

from chat.models import Message
from chat.runs import journal
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Pause, Text
from tests.support.sse_client import terminal_of, text_of


@pytest.fixture
def refusing_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse each batch that holds the word "poison", after 0.2 s."""
    write = journal.write

    def write_unless_poison(batches: Sequence[Any]) -> Any:
        if any("poison" in row.data for batch in batches for row in batch.rows):
            time.sleep(0.2)
            raise DatabaseError("refused")
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
