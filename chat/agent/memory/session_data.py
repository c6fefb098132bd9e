"""The data of one ADK session: its events and state, and the function that stores new events."""

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.adk.sessions._session_util import extract_json_safe_state_delta

from chat import events
from chat.agent.memory.payload import has_calls
from chat.models import PersonRequest

KEY_LENGTH = 512  # characters; UserState.key and AppState.key


class Record(Protocol):
    async def __call__(self, payload: str, *, can_wait: bool = False) -> None: ...


async def _refuse(payload: str, *, can_wait: bool = False) -> None:
    raise RuntimeError("this session records nothing")


@dataclass(slots=True)
class SessionData:
    """A conversation and its current run, as the session service serves them to ADK.

    ``past`` (of earlier runs) and ``own_payloads`` (of this run) are ADK events as JSON text. ``record``
    stores one more event and returns after the commit; one that ``can_wait`` is stored with the next one.
    """

    run_id: uuid.UUID
    conversation_id: str
    user_id: str
    agent: str
    prompt: str
    answers: list[
        PersonRequest
    ]  # decided requests of an earlier run, which this run brings in place of the prompt
    past: list[str]
    state: dict[str, Any]  # the session's own scope
    user_state: dict[str, Any]
    app_state: dict[str, Any]
    attempt: int = 1  # Run.attempt
    prompt_files: list[dict[str, Any]] = field(default_factory=list)  # items of the prompt's parts
    prompt_parent: uuid.UUID | None = None  # the message at which the branch before this run ends
    updated_at: float = 0.0
    own_payloads: list[str] = field(default_factory=list)
    user_delta: dict[str, Any] = field(default_factory=dict)
    app_delta: dict[str, Any] = field(default_factory=dict)
    record: Record = _refuse
    revision: int = 0  # rises with each stored event
    appending: asyncio.Lock = field(default_factory=asyncio.Lock)

    def add_stored_event(self, payload: str, delta: dict[str, dict[str, Any]]) -> None:
        """Add a stored event, and update the state of each scope by its delta. None is a value too."""
        self.revision += 1
        self.own_payloads.append(payload)
        self.state.update(delta["session"])
        self.user_state.update(delta["user"])
        self.app_state.update(delta["app"])
        self.user_delta.update(delta["user"])
        self.app_delta.update(delta["app"])

    @property
    def marker(self) -> str:
        """The state of storage that ADK's session objects must have been loaded at to be appended to."""
        return f"{self.run_id}:{self.revision}"

    def has_calls(self) -> bool:
        """Return whether a stored event of this run calls a tool that may act."""
        return has_calls(self.own_payloads)


def split_by_scope(delta: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return the delta of each scope: "app", "user" and "session". Keys lose their prefixes.

    ``temp:`` keys are dropped. A value that JSON cannot hold becomes its ``repr``, so that it can be stored.
    """
    try:
        by_scope: dict[str, dict[str, Any]] = extract_json_safe_state_delta(delta or {})
    except UnicodeError:  # a lone surrogate in a key
        by_scope = extract_json_safe_state_delta(events.clean_json(delta))
    for scope in ("app", "user"):
        by_scope[scope] = {
            events.clean_text(key)[:KEY_LENGTH]: value for key, value in by_scope[scope].items()
        }
    return by_scope


def stored_delta(payload: str) -> dict[str, dict[str, Any]]:
    """Return the state delta of a stored ADK event, split by scope."""
    actions = json.loads(payload).get("actions") or {}
    return split_by_scope(actions.get("stateDelta"))
