"""Who a socket belongs to, and until when: it is opened by one request, and outlives it."""

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

from chat import changes, doorbell


def _nothing(request: HttpRequest) -> HttpResponse:
    raise AssertionError("These middlewares are asked, and never call on")


_sessions = SessionMiddleware(_nothing)


def opening_request(scope: dict[str, Any]) -> HttpRequest:
    """The request that opens a socket, as Django knows requests."""
    return ASGIRequest({**scope, "type": "http", "method": "GET"}, BytesIO())


def is_same_origin(request: HttpRequest) -> bool:
    """Whether a page of ours opens it. By the rule for forms, the port included: a page on another
    port of this machine gets our cookies along, and a browser lets any page open a socket.
    """
    check = CsrfViewMiddleware(_nothing)
    return "HTTP_ORIGIN" in request.META and check._origin_verified(request)  # type: ignore[attr-defined]


def member_of(request: HttpRequest) -> Any:
    """The member whose session this is, as the database knows it now; None where it is nobody's: signed
    out, expired, deactivated, or with another password by now. For a thread.
    """
    _sessions.process_request(request)  # what was read before is forgotten
    member = get_user(request)
    return member if member.is_authenticated else None


def bell_of(request: HttpRequest) -> str:
    """The bell that is rung when this session ends by a sign-out. It goes through Redis: no key in it."""
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    return f"end of {hashlib.sha256(key.encode()).hexdigest()}"


@receiver(user_logged_out)
def _ring_for_sign_out(request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """The session's own bell says why, the member's wakes."""
    if user is not None:
        doorbell.ring_soon([bell_of(request), changes.bell_of(user.pk)])
