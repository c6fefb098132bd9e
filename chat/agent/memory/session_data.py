"""The data of one ADK session: earlier events, state, and the function that stores new events."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from chat.agent.memory.payload import calls_of


async def _refuse(payload: str) -> None:
    raise RuntimeError("this session records nothing")


@dataclass(slots=True)
class SessionData:
    """A conversation and its current run, as the session service serves them to ADK.

    ``past`` (of earlier runs) and ``own_payloads`` (of this run) are ADK events as JSON text. ``record``
    stores one more event and returns after the commit.
    """

    run_id: uuid.UUID
    conversation_id: str
    user_id: str
    agent: str
    prompt: str
    past: list[str]
    state: dict[str, Any]  # the session's own scope
    user_state: dict[str, Any]
    app_state: dict[str, Any]
    updated_at: float = 0.0
    own_payloads: list[str] = field(default_factory=list)
    user_delta: dict[str, Any] = field(default_factory=dict)
    app_delta: dict[str, Any] = field(default_factory=dict)
    record: Callable[[str], Awaitable[None]] = _refuse
    revision: int = 0

    def add_stored_event(self, payload: str, delta: dict[str, dict[str, Any]]) -> None:
        """Add a stored event, and update the state of each scope by its delta. None is a value too."""
        self.own_payloads.append(payload)
        self.state.update(delta["session"])
        self.user_state.update(delta["user"])
        self.app_state.update(delta["app"])
        self.user_delta.update(delta["user"])
        self.app_delta.update(delta["app"])

    def has_calls(self) -> bool:
        """Return whether a stored event of this run calls a tool."""
        return any(calls_of(payload) for payload in self.own_payloads)
