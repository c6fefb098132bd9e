"""Fixtures of the tests of moderation: clients of staff, and a conversation of alice."""

from typing import Any

import pytest

from chat.moderation.groups import AUDITOR, TRIAGE
from tests.conftest import make_staff
from tests.support.client import Client
from tests.support.talk import Talk

SECRET = "canary quokka"


@pytest.fixture
async def as_mona(parley: Any, mona: Any) -> Client:
    return await Client(parley, mona).sign_in()


@pytest.fixture
async def as_stella(parley: Any, stella: Any) -> Client:
    return await Client(parley, stella).sign_in()


@pytest.fixture
def tom(transactional_db: None) -> Any:
    """Return staff of the group Triage, who see the lists only."""
    return make_staff("tom", TRIAGE)


@pytest.fixture
async def as_tom(parley: Any, tom: Any) -> Client:
    return await Client(parley, tom).sign_in()


@pytest.fixture
def audrey(transactional_db: None) -> Any:
    """Return an auditor."""
    return make_staff("audrey", AUDITOR)


@pytest.fixture
async def as_audrey(parley: Any, audrey: Any) -> Client:
    return await Client(parley, audrey).sign_in()


@pytest.fixture
async def talk(as_alice: Client) -> Talk:
    """Return a conversation of alice."""
    talk = Talk(as_alice)
    await talk.ask(SECRET)
    return talk
