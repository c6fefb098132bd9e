"""ADK's state deltas by scope, safe to store."""

import json
from typing import Any

from google.adk.sessions._session_util import extract_json_safe_state_delta

from chat import events


def scoped(delta: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """``delta`` as ``{"app", "user", "session"}``, prefixes stripped, ``temp:`` dropped.

    A value that JSON does not hold becomes its ``repr``: it must not lose the event.
    """
    by_scope = extract_json_safe_state_delta(delta or {})
    return {scope: _storable(values) for scope, values in by_scope.items()}


def deltas_of(payload: str) -> dict[str, dict[str, Any]]:
    """The state delta of a stored ADK event."""
    actions = json.loads(payload).get("actions") or {}
    return scoped(actions.get("stateDelta"))


def _storable(values: dict[str, Any]) -> dict[str, Any]:
    return {events.clean_text(key): value for key, value in values.items()}
