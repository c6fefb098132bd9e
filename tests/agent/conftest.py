"""Fixtures of the contract suite: the members whose sessions are compared, and the store that holds them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.agent.session_stores import OURS, Conversations, InMemory, Store


@pytest.fixture
def members(request: pytest.FixtureRequest) -> Any:
    """Return alice and bob if the sessions are conversations."""
    if request.param == OURS:
        return request.getfixturevalue("alice"), request.getfixturevalue("bob")
    return None


@pytest.fixture
async def store(members: Any) -> AsyncIterator[Store]:
    if members is None:
        yield InMemory()
        return
    conversations = Conversations(*members)
    writing = asyncio.ensure_future(conversations.journal.run())
    yield conversations
    for session_id in list(conversations.runs):
        await conversations.end(session_id)
    writing.cancel()
