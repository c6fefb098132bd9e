"""ADK events as they are stored: JSON text, the whole event."""

import json
from collections.abc import Sequence
from typing import Any

from google.adk.events import Event
from google.adk.sessions import State
from google.genai import types
from pydantic_core import PydanticSerializationError

from chat import events


def of_event(event: Event, delta: dict[str, dict[str, Any]] | None = None) -> str:
    """The event as JSON text; ``delta``, as ``state.scoped`` gives it, in place of its state delta.

    What JSON or UTF-8 cannot hold becomes its ``repr`` or U+FFFD: it must not lose the event.
    """
    if delta is not None and event.actions:
        actions = event.actions.model_copy(update={"state_delta": _prefixed(delta)})
        event = event.model_copy(update={"actions": actions})
    try:
        return event.model_dump_json(exclude_none=True, by_alias=True)
    except PydanticSerializationError:
        plain = event.model_dump(mode="json", exclude_none=True, by_alias=True, fallback=repr)
        return events.encode(events.clean(plain))


def of_question(text: str, invocation_id: str, timestamp: float) -> str:
    """A person's question, where no run has told ADK of it."""
    content = types.Content(role="user", parts=[types.Part(text=text)])
    return of_event(Event(author="user", invocation_id=invocation_id, content=content, timestamp=timestamp))


def results_for(payload: str, calls: Sequence[dict[str, Any]], result: dict[str, Any]) -> str:
    """An ADK event that gives ``result`` for these calls of the event in ``payload``, to the readers that
    see the calls.
    """
    call_event = json.loads(payload)
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
    """Return the id that ADK gave to the invocation of these events; empty where there are none."""
    return str(json.loads(payloads[0]).get("invocationId", "")) if payloads else ""


def waiting_calls_of(payload: str) -> set[str]:
    """Return the ids of the calls in a stored event that wait for a person, or for long."""
    return set(json.loads(payload).get("longRunningToolIds") or ())


def parts_of(payload: str) -> list[dict[str, Any]]:
    """The parts of a stored event's content, as plain JSON."""
    content = json.loads(payload).get("content") or {}
    return content.get("parts") or []


def calls_of(payload: str) -> list[dict[str, Any]]:
    """The function calls in a stored event."""
    return [part["functionCall"] for part in parts_of(payload) if "functionCall" in part]


def _prefixed(delta: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        **delta["session"],
        **{State.USER_PREFIX + key: value for key, value in delta["user"].items()},
        **{State.APP_PREFIX + key: value for key, value in delta["app"].items()},
    }
