"""Middleware: answers to refusals, and the checks of sign-in and CSRF."""

import logging
import sys
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views import defaults

from chat import database, refusals
from chat.http import parsing
from chat.instruments import metrics
from chat.refusals import Refusal

log = logging.getLogger(__name__)

SERVICES_AWAY: tuple[type[Exception], ...] = database.AWAY
if settings.REDIS_URL:
    from redis.exceptions import RedisError

    SERVICES_AWAY = (*SERVICES_AWAY, RedisError)

# Called by programs: refused in JSON, with a status instead of a redirect.
PROGRAM_PATHS = ("/api/", "/chat/stream", "/chat/runs/", "/thumbnails/", "/healthz", "/readyz")


def is_for_programs(request: HttpRequest) -> bool:
    return request.path.startswith(PROGRAM_PATHS)


class AnswerRefusals:
    """Middleware that answers a Refusal of any view, and errors that ``refusal_of`` maps to one."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        refusal = refusal_of(exception)
        return response_to(request, refusal) if refusal else None


def refusal_of(error: BaseException | None) -> Refusal | None:
    """Return the refusal that ``error`` is or becomes; None for any other error, which is a 500."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, SERVICES_AWAY):
        return refusals.unavailable(_("The database does not answer at the moment."))
    if isinstance(error, DataError):
        # Log only the class: the database's message quotes the value.
        log.warning("The database refused a value: %s", type(error.__cause__ or error).__name__)
        return refusals.malformed(_("Something in this request cannot be stored or looked for."))
    return None


class RequireSignIn(LoginRequiredMiddleware):
    """Django's sign-in check. Unlike Django's, it looks up no user for a view that needs no check.

    Such a view may be one on the event loop, which must not wait for the database.
    """

    def process_view(self, request: HttpRequest, view_func: Any, view_args: Any, view_kwargs: Any) -> Any:
        if not getattr(view_func, "login_required", True):
            return None
        return super().process_view(request, view_func, view_args, view_kwargs)


class CheckCsrf(CsrfViewMiddleware):
    """Django's CSRF check, which reads the form; an unreadable one is refused.

    Otherwise the check raises again in Django's error pages, which run it too: a 500 without a page.
    """

    def process_view(self, request: HttpRequest, callback: Any, args: Any, kwargs: Any) -> Any:
        try:
            with parsing.unreadable_is_refused():
                return super().process_view(request, callback, args, kwargs)
        except Refusal as refusal:
            return response_to(request, refusal)


def response_to(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """Return the refusal as JSON for programs, as a page for browsers."""
    metrics.refusals.count(refusal.code)
    if is_for_programs(request):
        return refusal.response()
    template = "404.html" if refusal.status == 404 else "refused.html"
    response = render(request, template, {"refusal": refusal}, status=refusal.status)
    response["Cache-Control"] = "private, no-store"
    if refusal.retry_after is not None:
        response["Retry-After"] = str(refusal.retry_after)
    # Django sets it only if a view was found, which would tell a hidden page from a missing one.
    patch_vary_headers(response, ["Cookie"])
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an error of a middleware, such as the sign-in check while the database is away."""
    # Django calls process_exception only for errors of views. Here the error is the one being handled.
    refusal = refusal_of(sys.exc_info()[1])
    return response_to(request, refusal) if refusal else defaults.server_error(request)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an unknown address like one of another member."""
    return response_to(request, refusals.not_found())
