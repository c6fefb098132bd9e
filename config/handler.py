"""Django's handler of HTTP requests, without its hop to a thread for each middleware.

    path                        runs
    static files                on the event loop, before the middleware
    views of ``on_event_loop``  with their middleware on the event loop; each waits in ``run_db``
    all other views             with their middleware in one hop to a thread of a pool

In Django's own handler each request starts a thread, hops to it 15 times, and keeps it until the response
ends: 600 idle streams took 601 threads.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.security import SecurityMiddleware
from django.urls import Resolver404, ResolverMatch, resolve, set_script_prefix
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string
from servestatic.middleware import ServeStaticMiddleware

from chat.database import AWAY, REQUEST_THREADS, run_db
from chat.http.event_loop import RedirectAfter, runs_on_event_loop
from chat.instruments import logs

log = logging.getLogger(__name__)


_pool = ThreadPoolExecutor(REQUEST_THREADS, thread_name_prefix="request")


class _Resolved(BaseHandler):
    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Return the match that chose between the event loop and a thread."""
        return request.resolver_match or super().resolve_request(request)


class _OnThread(_Resolved):
    """The middleware and the views of a request, all on one thread."""

    def __init__(self) -> None:
        super().__init__()
        self.load_middleware(is_async=False)

    def respond(self, request: HttpRequest, scope: dict[str, Any]) -> HttpResponseBase:
        """Return the response. The thread's connection is free again, and the request closed."""
        signals.request_started.send(sender=self.__class__, scope=scope)
        response = self.get_response(request)
        if response.streaming:
            close_old_connections()
        else:
            response.close()  # sends request_finished; the content stays
        return response


class Handler(_Resolved, ASGIHandler):
    """ASGI application of Django. Its own chain of middleware is that of the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._on_thread = _OnThread()  # its chain is that of a thread
        self._static = ServeStaticMiddleware(_not_found)
        self._security = SecurityMiddleware(HttpResponse)  # only its hooks are called

    def load_middleware(self, is_async: bool = True) -> None:
        """Load the middleware as Django does, but call its hooks directly: each waits for nothing.

        Django sends every hook to a thread, which costs 3 ms a request.
        """
        self._view_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        handler = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]
        for name in reversed(settings.MIDDLEWARE):
            middleware = _on_event_loop(import_string(name))(handler)
            if view_hook := getattr(middleware, "process_view", None):
                self._view_middleware.insert(0, _as_async(view_hook))
            if exception_hook := getattr(middleware, "process_exception", None):
                self._exception_middleware.append(exception_hook)
            handler = convert_exception_to_response(middleware)
        self._middleware_chain = handler

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request. While the response is sent, the request is not kept: a stream takes minutes."""
        response, context = await self._respond(scope, receive)
        if response is None:
            return
        try:
            sending = self.send_response(response, send)
            await (self._until_gone(sending, receive) if response.streaming else sending)
        finally:
            if context and not response.closed:
                await asyncio.get_running_loop().run_in_executor(_pool, context.run, response.close)
            elif not response.closed:
                response.close()

    async def _respond(self, scope: Any, receive: Any) -> tuple[Any, contextvars.Context | None]:
        """Return the response, None if the client left before it; and the context of its thread, if any."""
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return None, None
        try:
            return await self._respond_to(scope, body, receive)
        finally:
            body.close()

    async def _respond_to(
        self, scope: Any, body: Any, receive: Any
    ) -> tuple[Any, contextvars.Context | None]:
        set_script_prefix(get_script_prefix(scope))
        request, refused = self.create_request(scope, body)
        if request is None:
            return refused, None
        logs.set_request(request)
        if request.path_info.startswith(self._static.static_prefix):
            response = await self._static_file(request)
            if response is not None:
                return response, None
        view = _view_of(request)
        if view and runs_on_event_loop(view):
            if not iscoroutinefunction(view):
                return self._on_thread.respond(request, scope), None
            signals.request_started.send(sender=self.__class__, scope=scope)
            response = await self._until_gone(self.run_get_response(request), receive)
            if response is not None and response.streaming:
                _release(request, response)
            return response, None
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        response = await loop.run_in_executor(_pool, context.run, self._on_thread.respond, request, scope)
        if isinstance(response, RedirectAfter):
            try:
                await self._until_gone(response.work(), receive)
            except AWAY as error:  # what the form asked for is stored; the next page says if it is not done
                log.warning("A redirect did not wait for the database: %s", error)
        return response, context

    async def _static_file(self, request: Any) -> Any:
        """Return the response with a static file; None if there is none of this address."""
        response = self._security.process_request(request) or await self._static(request)
        return response and self._security.process_response(request, response)

    async def _until_gone(self, work: Coroutine[Any, Any, Any], receive: Any) -> Any:
        """Do ``work`` and return its result; cancel it and return None if the client leaves."""
        task = asyncio.current_task()
        assert task
        has_left = False

        def on_left(leaving: "asyncio.Task[None]") -> None:
            nonlocal has_left
            has_left = True
            task.cancel()

        leaving = asyncio.ensure_future(self.listen_for_disconnect(receive))
        leaving.add_done_callback(on_left)
        try:
            return await work
        except asyncio.CancelledError:
            if not has_left or task.cancelling() > 1:  # the server cancels this task, too
                raise
        finally:
            leaving.remove_done_callback(on_left)
            if has_left:
                task.uncancel()
            leaving.cancel()
            [result] = await asyncio.gather(leaving, return_exceptions=True)
        if isinstance(result, Exception) and not isinstance(result, RequestAborted):
            raise result
        return None


def _release(request: Any, response: Any) -> None:
    """Remove the references to the request that a stream would keep: 10 KiB each."""
    request.close()
    response._resource_closers.remove(request.close)
    logs.release_request()


async def _not_found(request: HttpRequest) -> Any:
    return None


def _view_of(request: Any) -> Callable[..., Any] | None:
    try:
        request.resolver_match = resolve(request.path_info)
    except Resolver404:
        return None
    view: Callable[..., Any] = request.resolver_match.func
    return view


def _on_event_loop(middleware: Any) -> Any:
    """Return a class of middleware whose hooks are called directly; a function as it is."""
    if getattr(middleware, "__acall__", None) is not MiddlewareMixin.__acall__:
        return middleware
    return type(middleware.__name__, (middleware,), {"__acall__": _call_hooks})


async def _call_hooks(self: Any, request: HttpRequest) -> Any:
    response = self.process_request(request) if hasattr(self, "process_request") else None
    response = response or await self.get_response(request)
    if not hasattr(self, "process_response"):
        return response
    # A session changes for example if it was signed with one of SECRET_KEY_FALLBACKS.
    if isinstance(self, SessionMiddleware) and request.session.modified:
        return await run_db(self.process_response, request, response)
    return self.process_response(request, response)


def _as_async(hook: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def call(*args: Any) -> Any:
        return hook(*args)

    return call
