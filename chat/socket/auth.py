"""Sign-in of a socket, which is opened by one request and outlives it."""

import hashlib
from io import BytesIO
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from accounts.models import User
from chat import changes, doorbell


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
    """Return the member of the sign-in session, read from the database again. Call it on a thread.

    None after a sign-out or a change of the password, and for an expired session or an inactive account.
    """
    _sessions.process_request(request)  # drops the session that was read before
    member = get_user(request)
    return member if isinstance(member, User) else None


def sign_out_bell_name(request: HttpRequest) -> str:
    """Return the name of the doorbell that is rung when this sign-in session ends by a sign-out."""
    # Hashed: the name is sent through Redis, which must not see the session key.
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    return f"end of {hashlib.sha256(key.encode()).hexdigest()}"


@receiver(user_logged_out)
def _ring_for_sign_out(request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    # Ring both: the member's bell wakes the socket's loop, the session's sets its ``signed_out``.
    if user is not None:
        doorbell.ring_soon([sign_out_bell_name(request), changes.bell_name(user.pk)])
