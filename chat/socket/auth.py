"""Sign-in of a socket, which is opened by one request and outlives it."""

from io import BytesIO
from typing import Any

from django.contrib.auth import get_user
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from accounts.models import User


def _nothing(request: HttpRequest) -> HttpResponse:
    raise AssertionError("Only single methods of the middlewares are used, and none calls this")


_sessions = SessionMiddleware(_nothing)


def opening_request(scope: dict[str, Any]) -> HttpRequest:
    """Return the request that opens a socket as Django's HttpRequest."""
    return ASGIRequest({**scope, "type": "http", "method": "GET"}, BytesIO())


def is_same_origin(request: HttpRequest) -> bool:
    """Return whether a page of this site opens the socket."""
    # Browsers let any page open a socket, and send this host's cookies from pages on its other ports, too. So
    # Django's rule for forms applies, which includes the port.
    check = CsrfViewMiddleware(_nothing)
    return "HTTP_ORIGIN" in request.META and check._origin_verified(request)  # type: ignore[attr-defined]


def signed_in_member(request: HttpRequest) -> User | None:
    """Return the member of the sign-in session; None without one. Call it on a thread."""
    _sessions.process_request(request)
    member = get_user(request)
    return member if isinstance(member, User) else None
