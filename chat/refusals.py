"""Refusals: the error answers of docs/streaming.md, raised anywhere and answered by one middleware."""

import uuid
from datetime import datetime
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

RETRY_AFTER_SECONDS = 2


class Refusal(Exception):
    """Error answer to a request.

    ``detail`` is a translated sentence for the user; ``extra`` are further fields of the error object.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, retry_after: int | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.extra = extra

    def response(self) -> HttpResponse:
        error = {"code": self.code, "detail": self.detail, **self.extra}
        response = JsonResponse({"error": error}, status=self.status)
        response["Cache-Control"] = "private, no-store"
        if self.retry_after is not None:
            response["Retry-After"] = str(self.retry_after)
        return response


def not_signed_in() -> Refusal:
    return Refusal(401, "not_signed_in", _("Sign in first."))


def cross_site() -> Refusal:
    return Refusal(403, "cross_site", _("This request came from another site."))


def csrf_failed() -> Refusal:
    return Refusal(403, "csrf", _("The CSRF token is missing or wrong. Reload the page and try again."))


def wrong_content_type() -> Refusal:
    return Refusal(415, "content_type", _("Send application/json in UTF-8, or a form."))


def too_large() -> Refusal:
    return Refusal(413, "too_large", _("The request is too large."))


def malformed(detail: str) -> Refusal:
    return Refusal(400, "malformed", detail)


def not_found() -> Refusal:
    """Return the same refusal for an object that does not exist and for one of another member."""
    return Refusal(404, "not_found", _("There is nothing here."))


def unprocessable(code: str, detail: str) -> Refusal:
    return Refusal(422, code, detail)


def suspended(until: datetime, reason: str | None, decision: uuid.UUID | None) -> Refusal:
    sentence = _("Your account is suspended until %(until)s.")
    shown = date_format(localtime(until), "DATETIME_FORMAT")
    return Refusal(
        403,
        "suspended",
        sentence % {"until": shown},
        until=until.isoformat(),
        reason=reason,
        decision=str(decision) if decision else None,
    )


def warned(decision: uuid.UUID | None) -> Refusal:
    return Refusal(
        409,
        "warning",
        _("A moderator has warned you. Read the warning first, under “Decisions”."),
        decision=str(decision) if decision else None,
    )


def locked(lock: dict[str, Any] | None) -> Refusal:
    """Return the refusal; ``lock`` is that of ``moderated.lock_of``."""
    return Refusal(423, "locked", _("A moderator has locked this conversation."), locked=lock)


def hidden() -> Refusal:
    return Refusal(409, "hidden", _("A moderator has hidden this question."))


def busy(run: str) -> Refusal:
    return Refusal(409, "busy", _("This conversation is already answering."), run=run)


def in_call() -> Refusal:
    return Refusal(409, "in_call", _("A call is open in this conversation. Hang up before you write."))


def queue_full(limit: int) -> Refusal:
    return Refusal(
        409, "queue_full", _("At most %(limit)s messages can wait in a conversation.") % {"limit": limit}
    )


def asked(run: str) -> Refusal:
    return Refusal(409, "asked", _("This was asked already."), run=run)


def undecided() -> Refusal:
    return Refusal(409, "undecided", _("A request of the agent waits for a decision first."))


def answered(run: str | None) -> Refusal:
    return Refusal(409, "answered", _("This was decided already."), run=run)


def not_approver(group: str) -> Refusal:
    return Refusal(403, "not_approver", _("“%(group)s” decides this, not the asker.") % {"group": group})


def lapsed() -> Refusal:
    return Refusal(
        409, "lapsed", _("This can no longer be decided: the conversation went on, or its time is over.")
    )


def changed() -> Refusal:
    return Refusal(
        409,
        "changed",
        _("The agent or its tool has changed since it asked. It still waits: ask the agent again instead."),
    )


def too_many(detail: str, *, retry_after: int = RETRY_AFTER_SECONDS) -> Refusal:
    return Refusal(429, "too_many", detail, retry_after=retry_after)


def unavailable(detail: str) -> Refusal:
    return Refusal(503, "unavailable", detail, retry_after=RETRY_AFTER_SECONDS)
