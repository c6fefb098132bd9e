"""Fixtures for agents that wait: carol is the member of Finance, which decides about transfers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group

from chat import approvers
from tests.agent.test_agents_that_wait import HEAD
from tests.conftest import make_user
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Text
from tests.support.talk import Talk
from tests.waiting.bank import Bank, WriteAsync

Pay = Callable[..., Awaitable[tuple[Talk, list[dict[str, Any]]]]]

AGENT = """
    def book_leave(days: int) -> dict:
        \"\"\"Books days of leave.\"\"\"
        return {"booked": days}

    own = FunctionTool(book_leave, require_confirmation=True)
    root_agent = one('bank', confirmed, own)
"""
PAY = Call("transfer_money", {"amount": 5})
LEAVE = Call("book_leave", {"days": 3})


@pytest.fixture
async def as_carol(parley: Any) -> Client:
    """Return the client of carol, the member of the group Finance."""
    carol = await sync_to_async(make_user)("carol")
    return await Client(parley, carol).sign_in()


@pytest.fixture
async def finance(settings: Any, as_carol: Client) -> AsyncIterator[Group]:
    settings.APPROVERS = {"bank": {"transfer_money": "Finance"}}
    group = await Group.objects.acreate(name="Finance")
    await group.user_set.aadd(as_carol.user)
    yield group
    await group.adelete()
    approvers._warned.clear()


@pytest.fixture
async def pay(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini, finance: Group
) -> Callable[..., Awaitable[tuple[Talk, list[dict[str, Any]]]]]:
    async def pay(*calls: Call) -> tuple[Talk, list[dict[str, Any]]]:
        await write_agents({"bank/agent.py": HEAD + AGENT})
        gemini.on("alice's canary", [Text("I look."), *(calls or [PAY])], [Text("It is done.")])
        talk = Talk(as_alice)
        said = await talk.ask("alice's canary", agent="bank")
        assert said.data["finish"] == "approval", said.data
        return talk, [event.json() for event in said.named("waiting")]

    return pay


@pytest.fixture
def bank(write_agents: WriteAsync, as_alice: Client, gemini: Gemini, tmp_path: Path) -> Bank:
    return Bank(write_agents, as_alice, gemini, tmp_path / "agents")
