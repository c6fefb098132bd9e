"""How a run ends, in words and in its terminal event."""

from dataclasses import fields
from typing import Any

from chat import events
from chat.events import Event, Usage
from chat.models import Run

STATUS_OF = {
    events.COMPLETED: Run.Status.COMPLETED,
    events.STOPPED: Run.Status.STOPPED,
    events.FAILED: Run.Status.FAILED,
    events.EXPIRED: Run.Status.EXPIRED,
}

APPROVAL = "approval"  # the finish of a run whose tool call waits for a person

# What a person is told, and whether asking again may help.
SENTENCES: dict[str, tuple[str, bool]] = {
    "timeout_first": ("The model did not begin to answer in time.", True),
    "stalled": ("The model stopped in the middle of its answer.", True),
    "timeout_run": ("The answer took too long.", True),
    "rate_limited": ("The model is asked too often at the moment. Try again in a little while.", True),
    "unavailable": ("The model or its agent cannot be reached at the moment.", True),
    "model_error": ("The model failed to answer.", True),
    "bad_output": ("The model sent something that could not be read.", True),
    "blocked": ("The model declined to answer this.", False),
    "empty": ("The model answered with nothing.", True),
    "limit": ("The agent asked its model too many times without coming to an answer.", True),
    "agent": ("This agent failed.", True),
    "crashed": ("The server failed twice while this answer was written.", False),
    "lost": ("The server was interrupted while this answer was written.", True),
    "deleted": ("The conversation was deleted.", False),
    "moderated": ("A moderator stopped this answer.", False),
    "internal": ("Something went wrong in Parley. The site's owner can find it in the log.", True),
    "stopped": ("You stopped this answer.", True),
}

USAGE = [column.name for column in fields(Usage)]


def terminal_data(run: Run) -> dict[str, Any]:
    data: dict[str, Any] = {
        "message": str(run.reply_id) if run.reply_id else None,
        "finish": run.finish or None,
        "usage": run.usage(),
        "ttft_ms": run.ttft_ms,
        "duration_ms": run.duration_ms,
        "deltas": run.deltas,
    }
    if called := called_by(run):
        data["called"] = called
    if run.status != Run.Status.COMPLETED:
        data |= explain(run.status, run.code)
    return data


def called_by(run: Run) -> list[str]:
    """The names of the tools that an ended run called: to ask it again may do again what they did."""
    return events.tools_called(run.reply.parts["items"]) if run.reply else []


def explain(status: str, code: str) -> dict[str, Any]:
    """``code``, ``detail`` and ``retryable`` as a client is told them; all null for a completed run."""
    if status == Run.Status.COMPLETED:
        return {"code": None, "detail": None, "retryable": None}
    sentence, retryable = SENTENCES[code or "stopped"]
    return {"code": code or None, "detail": sentence, "retryable": retryable}


def terminal_event(run: Run) -> Event:
    """The terminal event of an ended run, for when its log was pruned."""
    return Event(next(kind for kind, status in STATUS_OF.items() if status == run.status), terminal_data(run))
