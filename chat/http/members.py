"""The signed-in user of a request. Views for programs answer 401 or 403 instead of redirecting."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from accounts.models import User
from chat import refusals
from chat.http import parsing


class _Csrf(CsrfViewMiddleware):
    """Django's CSRF check, called rather than installed: a request without a sign-in gets 401 first."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def member_of(request: HttpRequest) -> User:
    """Return the signed-in member. Call it on a thread: it reads the sign-in session.

    Raises the 401 refusal, and the 403 one for an unsafe method without the CSRF token.
    """
    user = request.user
    if not user.is_authenticated:
        raise refusals.not_signed_in()
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        _check_csrf(request)
    return user


def signed_in_user(request: HttpRequest) -> User:
    """Return the user of a request that has passed the sign-in check."""
    assert isinstance(request.user, User)
    return request.user


def _check_csrf(request: HttpRequest) -> None:
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise refusals.cross_site()
    check = _Csrf(lambda _request: None)  # type: ignore[arg-type]
    check.process_request(request)
    with parsing.unreadable_is_refused():  # the check reads the form
        # it inspects the view, and never calls it
        failed = check.process_view(request, lambda _request: HttpResponse(), (), {})
    if failed:
        raise refusals.csrf_failed()
