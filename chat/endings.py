"""Endings of runs: the sentence for each code, and the terminal event."""

from dataclasses import dataclass, fields
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from chat import events
from chat.events import Event, Usage
from chat.models import Run


@dataclass(frozen=True, slots=True)
class End:
    """How a run ends: the type of its terminal event, and the code or the finish that is stored.

    Completed runs have no ``code``, other runs no ``finish``. A run that its member stopped has neither; one
    that somebody else stopped gets the code of ``Run.stop_code``.
    """

    type: str
    code: str = ""
    finish: str = ""


STATUS_OF = {
    events.COMPLETED: Run.Status.COMPLETED,
    events.STOPPED: Run.Status.STOPPED,
    events.FAILED: Run.Status.FAILED,
    events.EXPIRED: Run.Status.EXPIRED,
}

MODERATED = "moderated"  # code of a run that a moderator stopped
INTERRUPTED = "interrupted"  # code of a spoken answer that was not heard to its end
APPROVAL = "approval"  # finish of a run whose tool call waits for a user

# By code: the sentence for the user, and whether asking again may help.
SENTENCES: dict[str, tuple[Promise, bool]] = {
    "timeout_first": (_("The model did not begin to answer in time."), True),
    "stalled": (_("The model stopped in the middle of its answer."), True),
    "timeout_run": (_("The answer took too long."), True),
    "rate_limited": (_("The model is asked too often at the moment. Try again in a little while."), True),
    "misconfigured": (
        _("The model of this agent is not set up correctly. The site's owner can find the reason."),
        False,
    ),
    "unavailable": (_("The model or its agent cannot be reached at the moment."), True),
    "model_error": (_("The model failed to answer."), True),
    "bad_output": (_("The model sent something that could not be read."), True),
    "blocked": (_("The model declined to answer this."), False),
    "empty": (_("The model answered with nothing."), True),
    "limit": (_("The agent asked its model too many times without coming to an answer."), True),
    "agent": (_("This agent failed."), True),
    "crashed": (_("The server failed twice while this answer was written."), False),
    "lost": (_("The server was interrupted while this answer was written."), True),
    "deleted": (_("The conversation was deleted."), False),
    MODERATED: (_("A moderator stopped this answer."), False),
    INTERRUPTED: (_("This answer was interrupted while it was spoken."), True),
    "internal": (_("Something went wrong in Parley. The site's owner can find it in the log."), True),
    "stopped": (_("You stopped this answer."), True),
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
    if run.finish == APPROVAL and (requests := run.requests.filter(is_job=False)):
        data["waiting"] = [str(pk) for pk in requests.order_by("asked_at", "id").values_list("pk", flat=True)]
    if run.status != Run.Status.COMPLETED:
        data |= explain(run.status, run.code)
    return data


def called_by(run: Run) -> list[str]:
    """Return the tools that an ended run called: if it is asked again, they may act again."""
    return events.tools_called(run.reply.parts["items"]) if run.reply else []


def explain(status: str, code: str) -> dict[str, Any]:
    """Return ``code``, ``detail`` and ``retryable`` as clients receive them; all None for a completed run."""
    if status == Run.Status.COMPLETED:
        return {"code": None, "detail": None, "retryable": None}
    sentence, retryable = SENTENCES[code or "stopped"]
    return {"code": code or None, "detail": str(sentence), "retryable": retryable}


def terminal_event(run: Run) -> Event:
    """Return the terminal event of an ended run whose log was pruned."""
    return Event(next(kind for kind, status in STATUS_OF.items() if status == run.status), terminal_data(run))
