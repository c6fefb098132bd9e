"""A scripted model in place of the one that a call would connect to."""

from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from chat.calls.closing import CallEnd
from chat.live import call as live_call
from chat.live import registry
from tests.faults.conftest import live_database  # noqa: F401  (a fixture)
from tests.live.script import Model, ScriptedSession, Talk, open_talk
from tests.support.oracle import acheck


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    found = Model()
    monkeypatch.setattr(live_call, "LiveConnection", found.open)
    monkeypatch.setattr(live_call, "LiveSession", ScriptedSession)
    monkeypatch.setattr(live_call, "voice_of", lambda agent: SimpleNamespace(kind=found.kind))
    return found


@pytest.fixture
async def start_talk(parley: Any, alice: Any, model: Model) -> AsyncIterator[Callable[[], Awaitable[Talk]]]:
    """Return a function that opens a call of alice. Afterwards the database must be sound."""

    async def start() -> Talk:
        return await open_talk(alice, model)

    yield start
    for call in registry.calls():
        call.finish(CallEnd.HUNG_UP)
        await call.run()
    await acheck()


@pytest.fixture
async def talk(start_talk: Callable[[], Awaitable[Talk]]) -> Talk:
    return await start_talk()
