"""The member a request comes from, for views that programs call: 401 and 403 as JSON, no redirect."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from accounts.models import User
from chat import refusals
from chat.http import parsing


class _Csrf(CsrfViewMiddleware):
    """Django's own check, asked rather than installed: who is not signed in gets 401 first."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def member_of(request: HttpRequest) -> User:
    """The signed-in member. Raises the 401 refusal, and the 403 one where a request that changes
    something lacks the CSRF token. For a thread: it reads the session.
    """
    user = request.user
    if not user.is_authenticated:
        raise refusals.not_signed_in()
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        _check_csrf(request)
    return user


def _nothing(request: HttpRequest) -> HttpResponse:
    raise AssertionError("Django's check looks at this view, and never calls it")


def _check_csrf(request: HttpRequest) -> None:
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise refusals.cross_site()
    check = _Csrf(lambda _request: None)  # type: ignore[arg-type]
    check.process_request(request)
    with parsing.unreadable_is_refused():  # the check looks for its field in a form
        failed = check.process_view(request, _nothing, (), {})
    if failed:
        raise refusals.csrf_failed()
