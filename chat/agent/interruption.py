"""What the model is told of a run that did not come to its end."""

from collections.abc import Sequence

from google.adk.events import Event
from google.genai import types

from chat import events
from chat.agent.payload import author_of, calls_of, of_event, parts_of
from chat.events import Fold

INTERRUPTED = {"error": "interrupted"}


def seal(payloads: Sequence[str], fold: Fold, invocation_id: str) -> list[str]:
    """The events that close a run's history: a result for each open call, and the tail of the
    text that was shown but is in no event. ``payloads`` are the run's stored ADK events.
    """
    sealed = []
    open_calls = _open_calls(payloads)
    if open_calls:
        parts = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=call.get("id"), name=call["name"], response=INTERRUPTED
                )
            )
            for call in open_calls
        ]
        sealed.append(_event(fold.agent, invocation_id, types.Content(role="user", parts=parts)))
    tail = _unrecorded(payloads, fold.text)
    if tail.strip():
        content = types.Content(role="model", parts=[types.Part(text=tail)])
        sealed.append(_event(fold.agent, invocation_id, content))
    return sealed


def _event(author: str, invocation_id: str, content: types.Content) -> str:
    event = Event(author=author or "model", invocation_id=invocation_id, interrupted=True, content=content)
    return of_event(event)


def _open_calls(payloads: Sequence[str]) -> list[dict[str, str]]:
    answered = {
        part["functionResponse"].get("id")
        for payload in payloads
        for part in parts_of(payload)
        if "functionResponse" in part
    }
    return [call for payload in payloads for call in calls_of(payload) if call.get("id") not in answered]


def _unrecorded(payloads: Sequence[str], shown: str) -> str:
    """What of ``shown`` no stored event says. Events and text go in the same order."""
    for payload in payloads:
        said = "".join(p["text"] for p in parts_of(payload) if p.get("text") and not p.get("thought"))
        if author_of(payload) == "user" or not said:
            continue
        said = events.clean_text(said)
        rest = shown.removeprefix(events.SEPARATOR) if not shown.startswith(said) else shown
        if rest.startswith(said):
            shown = rest[len(said) :]
        elif said.startswith(rest):  # stored whole, shown in part
            return ""
    return shown.removeprefix(events.SEPARATOR)
