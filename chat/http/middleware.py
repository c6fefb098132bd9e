"""Where a refusal becomes an answer, for every view alike."""

import logging
import sys
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.db import DataError, connection
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.views import defaults

from chat import database, refusals
from chat.http import parsing
from chat.instruments import metrics
from chat.refusals import Refusal

log = logging.getLogger(__name__)

AWAY: tuple[type[Exception], ...] = database.AWAY
if settings.REDIS_URL:
    from redis.exceptions import RedisError

    AWAY = (*AWAY, RedisError)

# What programs call: refused in JSON, with a status instead of a redirect.
PROGRAM_PATHS = ("/api/", "/chat/stream", "/chat/runs/", "/healthz", "/readyz")


def is_for_programs(request: HttpRequest) -> bool:
    return request.path.startswith(PROGRAM_PATHS)


class AnswerRefusals:
    """Answers a Refusal raised by any view, and what becomes one (see ``refusal_of``)."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        refusal = refusal_of(exception)
        return answer(request, refusal) if refusal else None


def refusal_of(error: BaseException | None) -> Refusal | None:
    """The refusal that ``error`` is or becomes, None for any other error: that is a 500."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, AWAY):
        return refusals.unavailable("The database does not answer at the moment.")
    if isinstance(error, DataError):
        # No more than that in the log: what the database says of a value quotes it.
        log.warning("The database refused a value: %s", type(error.__cause__ or error).__name__)
        return refusals.malformed("Something in this request cannot be stored or looked for.")
    return None


class RequireSignIn(LoginRequiredMiddleware):
    """Django's check, without what deadlocked: it asks who is there for every view, and the request's
    thread keeps the connection that this took until the answer.

    As many requests at once as the pool has connections, each waiting in ``run_db`` for one more, waited
    until the pool gave up: 50 asks at once ended in 500s. So a view that needs nobody, or finds out by
    itself, has nobody looked up, and for others the connection goes back to the pool.
    """

    def process_view(self, request: HttpRequest, view_func: Any, view_args: Any, view_kwargs: Any) -> Any:
        if not getattr(view_func, "login_required", True):
            return None
        answer = super().process_view(request, view_func, view_args, view_kwargs)
        if not settings.ON_SQLITE and not connection.in_atomic_block:
            connection.close()
        return answer


class CheckCsrf(CsrfViewMiddleware):
    """Django's check, which looks for its field in a form: one that cannot be read is refused.

    Otherwise it raises, and raises again in Django's error pages, which check too: a 500 without a page.
    """

    def process_view(self, request: HttpRequest, callback: Any, args: Any, kwargs: Any) -> Any:
        try:
            with parsing.unreadable_is_refused():
                return super().process_view(request, callback, args, kwargs)
        except Refusal as refusal:
            return answer(request, refusal)


def answer(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """The refusal as JSON for programs, as a page for people."""
    metrics.refusals.count(refusal.code)
    if is_for_programs(request):
        return refusal.response()
    template = "404.html" if refusal.status == 404 else "refused.html"
    response = render(request, template, {"refusal": refusal}, status=refusal.status)
    response["Cache-Control"] = "private, no-store"
    if refusal.retry_after is not None:
        response["Retry-After"] = str(refusal.retry_after)
    # Django says so only where a view was found: that would tell a hidden page from one that is not there.
    patch_vary_headers(response, ["Cookie"])
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer what middleware raised, such as the sign-in check while the database is away.

    Django asks ``process_exception`` only about views; here the error is the one being handled.
    """
    refusal = refusal_of(sys.exc_info()[1])
    return answer(request, refusal) if refusal else defaults.server_error(request)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The same answer for an address that leads nowhere as for somebody else's."""
    return answer(request, refusals.not_found())
