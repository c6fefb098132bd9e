"""ADK's state deltas by scope, safe to store."""

import json
from typing import Any

from google.adk.sessions._session_util import extract_json_safe_state_delta

from chat import events

KEY_LENGTH = 512  # of a key in the shared scopes, which is a column there


def scoped(delta: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """``delta`` as ``{"app", "user", "session"}``, prefixes stripped, ``temp:`` dropped.

    A value that JSON does not hold becomes its ``repr``: it must not lose the event.
    """
    try:
        by_scope: dict[str, dict[str, Any]] = extract_json_safe_state_delta(delta or {})
    except UnicodeError:  # half a surrogate in a key
        by_scope = extract_json_safe_state_delta(events.clean(delta))
    for scope in ("app", "user"):
        by_scope[scope] = {_column(key): value for key, value in by_scope[scope].items()}
    return by_scope


def deltas_of(payload: str) -> dict[str, dict[str, Any]]:
    """The state delta of a stored ADK event."""
    actions = json.loads(payload).get("actions") or {}
    return scoped(actions.get("stateDelta"))


def _column(key: str) -> str:
    return events.clean_text(key)[:KEY_LENGTH]
