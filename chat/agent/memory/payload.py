"""ADK events as JSON text, the form in which they are stored: write them, and read their fields."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from google.adk.events import Event
from google.adk.sessions import State
from google.genai import types
from pydantic_core import PydanticSerializationError

from chat import events


def encode_event(event: Event, delta: dict[str, dict[str, Any]] | None = None) -> str:
    """Return the event as JSON text. ``delta``, split by scope, replaces its state delta.

    A value that JSON cannot hold becomes its ``repr`` and a lone surrogate U+FFFD, so that it can be stored.
    """
    if delta is not None and event.actions:
        actions = event.actions.model_copy(update={"state_delta": _prefixed(delta)})
        event = event.model_copy(update={"actions": actions})
    try:
        return event.model_dump_json(exclude_none=True, by_alias=True)
    except PydanticSerializationError:
        plain = event.model_dump(mode="json", exclude_none=True, by_alias=True, fallback=repr)
        return events.encode_json(events.clean_json(plain))


def encode_question(parts: list[types.Part], invocation_id: str, timestamp: float) -> str:
    """Return the event of a user's question, for a run that never started and so stored none."""
    content = types.Content(role="user", parts=parts)
    event = Event(author="user", invocation_id=invocation_id, content=content, timestamp=timestamp)
    return encode_event(event)


def encode_results(payload: str, calls: Sequence[dict[str, Any]], result: dict[str, Any]) -> str:
    """Return an ADK event that answers these ``calls`` of the event in ``payload`` with ``result``."""
    call_event = json.loads(payload)
    # The same branch and scope: every agent that sees the calls sees the results.
    same = ("author", "invocationId", "timestamp", "branch", "isolationScope", "nodeInfo")
    responses = [{"id": call.get("id"), "name": call["name"], "response": result} for call in calls]
    parts = [{"functionResponse": response} for response in responses]
    return json.dumps(
        {
            **{key: call_event[key] for key in same if key in call_event},
            "id": f"{call_event.get('id', '')}-closed",
            "content": {"role": "user", "parts": parts},
        }
    )


def author_of(payload: str) -> str:
    author: str = json.loads(payload).get("author", "")
    return author


def invocation_of(payloads: Sequence[str]) -> str:
    """Return ADK's invocation id of these events, or "" if there are none."""
    return str(json.loads(payloads[0]).get("invocationId", "")) if payloads else ""


def pending_ids_of(payload: str) -> set[str]:
    """Return the ids of the long-running calls in a stored event, for example those that a user confirms."""
    return set(json.loads(payload).get("longRunningToolIds") or ())


def parts_of(payload: str) -> list[dict[str, Any]]:
    """Return the parts of a stored event's content, as decoded JSON."""
    content = json.loads(payload).get("content") or {}
    return content.get("parts") or []


def answered_ids(payloads: Sequence[str]) -> set[str | None]:
    """Return the ids of the calls that have a result in these stored events."""
    parts = (part for payload in payloads if '"functionResponse"' in payload for part in parts_of(payload))
    return {part["functionResponse"].get("id") for part in parts if "functionResponse" in part}


def calls_of(payload: str) -> list[dict[str, Any]]:
    """Return the function calls in a stored event, as decoded JSON."""
    return [part["functionCall"] for part in parts_of(payload) if "functionCall" in part]


def branch_of_call(payloads: Iterable[str], call_id: str) -> str:
    """Return the ADK branch of the stored event that has this call, or "" for the root's."""
    for payload in payloads:
        if call_id in payload and any(call.get("id") == call_id for call in calls_of(payload)):
            return str(json.loads(payload).get("branch") or "")
    return ""


def has_calls(payloads: Iterable[str]) -> bool:
    """Return whether one of these stored events calls a tool other than ADK's own, so one that may act."""
    calls = (call for payload in payloads if '"functionCall"' in payload for call in calls_of(payload))
    return any(call["name"] not in events.ADK_TOOLS for call in calls)


def _prefixed(delta: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        **delta["session"],
        **{State.USER_PREFIX + key: value for key, value in delta["user"].items()},
        **{State.APP_PREFIX + key: value for key, value in delta["app"].items()},
    }
