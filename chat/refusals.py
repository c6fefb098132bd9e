"""Why a request is refused: PROTOCOL's codes, one class, raised anywhere, answered in one place."""

from typing import Any

from django.http import HttpResponse, JsonResponse

RETRY_AFTER_SECONDS = 2


class Refusal(Exception):
    """An answer other than the one that was asked for.

    ``detail`` is a sentence for the person; ``extra`` are further fields of the error object.
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
    return Refusal(401, "not_signed_in", "Sign in first.")


def cross_site() -> Refusal:
    return Refusal(403, "cross_site", "This request came from another site.")


def csrf_failed() -> Refusal:
    return Refusal(403, "csrf", "The CSRF token is missing or wrong. Reload the page and try again.")


def wrong_content_type() -> Refusal:
    return Refusal(415, "content_type", "Send application/json in UTF-8, or a form.")


def too_large() -> Refusal:
    return Refusal(413, "too_large", "The request is too large.")


def malformed(detail: str) -> Refusal:
    return Refusal(400, "malformed", detail)


def not_found() -> Refusal:
    """The same for what is not there and for what is somebody else's."""
    return Refusal(404, "not_found", "There is nothing here.")


def unprocessable(code: str, detail: str) -> Refusal:
    return Refusal(422, code, detail)


def locked() -> Refusal:
    return Refusal(423, "locked", "A moderator has locked this conversation.")


def busy(run: str) -> Refusal:
    return Refusal(409, "busy", "This conversation is already answering.", run=run)


def too_many(detail: str) -> Refusal:
    return Refusal(429, "too_many", detail, retry_after=RETRY_AFTER_SECONDS)


def unavailable(detail: str) -> Refusal:
    return Refusal(503, "unavailable", detail, retry_after=RETRY_AFTER_SECONDS)
