"""The two session services that the contract suite compares: ours, and ADK's in-memory service.

Ours writes inside a real run: created by ``actions.send_message``, claimed, its turn loaded and attached, its
events recorded by the journal, and ended by ``lifecycle.end``.
"""

import contextlib
import copy
import uuid
from abc import ABC, abstractmethod
from typing import Any

import pytest
from google.adk.events import Event, EventActions
from google.adk.sessions import BaseSessionService, InMemorySessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.genai import types

from chat import events, lifecycle
from chat.actions import Ask, send_message
from chat.agent.memory.context import load_session
from chat.agent.memory.session_data import SessionData
from chat.agent.memory.session_service import ConversationSessionService
from chat.database import run_db
from chat.endings import End
from chat.events import Fold
from chat.lifecycle import Outcome
from chat.models import Process
from chat.runs.journal import Journal, RunWriter

APP = "conformance"
OURS, IN_MEMORY = "conversations", "in memory"


class Store(ABC):
    """A session service, with the steps that prepare a session for appends."""

    service: BaseSessionService
    alice: str
    bob: str

    @abstractmethod
    async def begin(self, session_id: str, user: str) -> None: ...

    @abstractmethod
    async def end(self, session_id: str) -> None: ...

    async def create(self, user: str | None = None, **fields: Any) -> Session:
        return await self.service.create_session(app_name=APP, user_id=user or self.alice, **fields)

    async def load(self, session_id: str, user: str | None = None, **config: Any) -> Session:
        found = await self.service.get_session(
            app_name=APP,
            user_id=user or self.alice,
            session_id=session_id,
            config=GetSessionConfig(**config) if config else None,
        )
        assert found is not None
        return found

    async def open(self, user: str | None = None) -> Session:
        """Create a session that accepts appends."""
        session = await self.create(user)
        await self.begin(session.id, user or self.alice)
        return await self.load(session.id, user)

    async def append(self, session: Session, **state: Any) -> Event:
        """Append an event with this state delta (``a__b`` for ``a:b``)."""
        delta = {key.replace("__", ":"): value for key, value in state.items()}
        return await self.service.append_event(session, event(actions=EventActions(state_delta=delta)))

    async def listed(self, user: str | None = None) -> list[Session]:
        return (await self.service.list_sessions(app_name=APP, user_id=user)).sessions


class InMemory(Store):
    def __init__(self) -> None:
        self.service = InMemorySessionService()
        self.alice, self.bob = "1", "2"

    async def begin(self, session_id: str, user: str) -> None:
        pass

    async def end(self, session_id: str) -> None:
        pass


class Conversations(Store):
    def __init__(self, alice: Any, bob: Any) -> None:
        self.service: ConversationSessionService = ConversationSessionService()
        self.users = {str(user.pk): user for user in (alice, bob)}
        self.alice, self.bob = self.users
        self.journal = Journal()
        self.turns: dict[str, SessionData] = {}
        self.runs: dict[str, tuple[lifecycle.Claim, RunWriter, contextlib.ExitStack]] = {}

    async def begin(self, session_id: str, user: str) -> None:
        def claim() -> tuple[lifecycle.Claim, SessionData]:
            ask = Ask(query="question", conversation=uuid.UUID(session_id))
            run_id = send_message(self.users[user], ask, agents=[APP]).pk
            process = Process.objects.create(host="here", pid=1, boot_id="", version="0")
            claimed = lifecycle.claim(run_id, process.pk)
            assert claimed is not None
            return claimed[0], load_session(claimed[1])

        claimed, turn = await run_db(claim)
        pen = self.journal.open(claimed, 1)
        turn.record = pen.record
        attached = contextlib.ExitStack()
        attached.enter_context(self.service.attached(turn))
        self.turns[session_id], self.runs[session_id] = turn, (claimed, pen, attached)

    async def end(self, session_id: str) -> None:
        claimed, pen, attached = self.runs.pop(session_id)
        turn = self.turns.pop(session_id)
        attached.close()
        rest, payloads = await pen.close()
        outcome = Outcome(
            End(events.COMPLETED, finish="stop"),
            session_events=payloads,
            state=turn.state,
            user_state=turn.user_delta,
            app_state=turn.app_delta,
        )
        assert await run_db(lifecycle.end, claimed, outcome, Fold([events.text("answer")]), rest)

    def elsewhere(self) -> "Conversations":
        """Return a store on the same tables as another process would have it."""
        other = copy.copy(self)
        other.service = ConversationSessionService()
        return other


def ours(*marks: Any) -> Any:
    return pytest.param(OURS, marks=[pytest.mark.django_db(transaction=True), *marks])


def both(*, in_memory: str = "") -> Any:
    """Run the test on both services; ``in_memory`` is the reason why ADK's own differs."""
    marks = [pytest.mark.xfail(strict=True, reason=in_memory)] if in_memory else []
    asked = [ours(), pytest.param(IN_MEMORY, marks=marks)]
    return pytest.mark.parametrize("members", asked, indirect=True)


only_ours = pytest.mark.parametrize("members", [ours()], indirect=True)


def event(**fields: Any) -> Event:
    return Event(**{"author": "agent", "invocation_id": "invocation"} | fields)


def said(text: str, **fields: Any) -> Event:
    return event(content=types.Content(role="model", parts=[types.Part(text=text)]), **fields)


def text_of(stored: Event) -> str:
    assert stored.content and stored.content.parts
    return "".join(part.text or "" for part in stored.content.parts)
