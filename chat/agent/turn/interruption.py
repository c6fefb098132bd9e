"""The ADK events that complete the history of an interrupted run, so that the next turn can use it."""

from collections.abc import Sequence
from typing import Any

from google.adk.events import Event
from google.genai import types

from chat import events
from chat.agent.memory.file_parts import reference_of
from chat.agent.memory.payload import (
    answered_ids,
    author_of,
    calls_of,
    encode_event,
    invocation_of,
    parts_of,
    pending_ids_of,
)
from chat.agent.turn.parts import pieces_of, text_of
from chat.events import Fold
from chat.models import PersonRequest, Run

INTERRUPTED_RESULT = {"error": "interrupted"}


def close_history(
    payloads: Sequence[str], fold: Fold, run: Run, root_name: str, approved: Sequence[PersonRequest] = ()
) -> list[str]:
    """Return the ADK events that complete the history of an interrupted run, as JSON text.

    They are a result for each interrupted call, and the text and the files that were shown but are in no
    stored event. A call that waits for the user stays open: the user may still answer. ``payloads`` are the
    run's stored ADK events, ``root_name`` is ADK's name for the conversation's agent, ``approved`` the
    requests that the run answers.
    """
    agent, invocation = run.conversation.agent, invocation_of(payloads)
    closing = []
    answered = answered_ids(payloads)
    unanswered = open_calls(payloads) + [
        {"id": each.call, "name": each.tool}
        for each in approved
        if each.started_at and each.call not in answered
    ]
    if unanswered:
        parts = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=call.get("id"), name=call["name"], response=INTERRUPTED_RESULT
                )
            )
            for call in unanswered
        ]
        author = root_name if fold.agent == agent else fold.agent
        closing.append(_event(author, invocation, types.Content(role="user", parts=parts)))
    tail = _unstored_text(payloads, fold.text)
    shown = [types.Part(text=tail)] if tail.strip() else []
    shown += _unstored_files(payloads, fold)
    if shown:
        texts = (item for item in reversed(fold.items) if item["type"] == "text")
        said = (item for item in texts if tail.strip() and tail in item["text"])
        agent_name = next((item["agent"] for item in said), fold.agent)
        author = root_name if agent_name == agent else agent_name
        content = types.Content(role="model", parts=shown)
        closing.append(_event(author, invocation, content))
    return closing


def _unstored_files(payloads: Sequence[str], fold: Fold) -> list[types.Part]:
    """Return a part for each file that was shown as a part of the reply, and is in no stored event."""
    found = []
    for item in fold.items:
        is_part = item["type"] == "file" and item.get("file") and "artifact" not in item
        if is_part and not any(item["file"] in payload for payload in payloads):
            pointer = types.FileData(file_uri=reference_of(item).uri, mime_type=item["mime"])
            found.append(types.Part(file_data=pointer))
    return found


def _event(author: str, invocation_id: str, content: types.Content) -> str:
    event = Event(author=author or "model", invocation_id=invocation_id, interrupted=True, content=content)
    return encode_event(event)


def open_calls(payloads: Sequence[str]) -> list[dict[str, Any]]:
    """Return the calls in these events that have no result and do not wait for a person."""
    answered = answered_ids(payloads)
    return [
        call
        for payload in payloads
        for call in calls_of(payload)
        if call.get("id") not in answered | pending_ids_of(payload)
    ]


def _unstored_text(payloads: Sequence[str], shown: str) -> str:
    """Return the part of ``shown`` that is in no stored event."""
    # Parallel agents are shown in another order than they are stored: a stored text can come before the
    # interrupted one or after it.
    contents = ({"parts": parts_of(payload)} for payload in payloads if author_of(payload) != "user")
    said = [text for each in contents if (text := text_of(pieces_of(types.Content.model_validate(each))))]
    while whole := max((text for text in said if shown.startswith(text)), key=len, default=""):
        said.remove(whole)
        shown = shown[len(whole) :].removeprefix(events.SEPARATOR)
    while whole := max((t for t in said if shown.endswith(events.SEPARATOR + t)), key=len, default=""):
        said.remove(whole)
        shown = shown[: -len(events.SEPARATOR + whole)]
    if any(text.startswith(shown) for text in said):  # it is stored completely but shown only in part
        return ""
    return shown
