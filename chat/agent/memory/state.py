"""ADK's state deltas, split by scope and safe to store as JSON."""

import json
from typing import Any

from google.adk.sessions._session_util import extract_json_safe_state_delta

from chat import events

KEY_LENGTH = 512  # characters; UserState.key and AppState.key


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
