"""The journal, where the database refuses what it writes."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import DatabaseError

from chat.runs import journal
from tests.support.client import Client
from tests.support.gemini import Gemini, Pause, Text
from tests.support.talk import Talk


@pytest.fixture
def talk(as_alice: Client) -> Talk:
    return Talk(as_alice)


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
    talk: Talk, gemini: Gemini, refusing_database: None, settings: Any, silence: float
) -> None:
    """The reply holds no text that is missing in the log."""
    settings.SILENCE_SECONDS = silence
    gemini.on("Say it", [Text("Good. "), Pause(0.05), Text("poison"), Pause(1)])
    said = await talk.ask("Say it")
    assert (said.end, said.code) == ("run.failed", "internal")
    assert said.text == "Good. "
    assert "poison" not in (await talk.messages())[-1]["text"]
