"""Contain agents' code: it can end its own tool call or its own run, not the server.

asyncio lets SystemExit and KeyboardInterrupt out of the loop from the task that raised them, and takes a
CancelledError for a cancellation that somebody asked for. ADK runs nodes, callbacks and tools in tasks of
its own, so each task that begins inside an agent's run turns such an exception into an AgentExit.
"""

import asyncio
import contextvars
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

from google.adk.workflow._errors import NodeInterruptedError

from chat.instruments import logs
from chat.instruments.stack import Owner, may_quote_people, owner_of

log = logging.getLogger(__name__)

T = TypeVar("T")
ENDS_A_LOOP = (SystemExit, KeyboardInterrupt)


class AgentExit(Exception):
    """An agent's code raised what is no Exception: SystemExit, KeyboardInterrupt, an unasked-for
    CancelledError. ``original`` is that exception.
    """

    def __init__(self, original: BaseException) -> None:
        super().__init__(": ".join(filter(None, [type(original).__name__, str(original)])))
        self.original = original


@dataclass(frozen=True, slots=True)
class AgentScope:
    """The run that a task works for. Once ``abort`` is set, ADK cancels tasks by itself."""

    agent: str = ""
    run: str = ""
    abort: asyncio.Event | None = None


_scope: ContextVar[AgentScope | None] = ContextVar("scope", default=None)


def begin(work: Coroutine[Any, Any, T], scope: AgentScope) -> "asyncio.Task[T]":
    """Start ``work`` as a task of this scope; the tasks that it starts are of the scope, too."""
    context = contextvars.copy_context()
    context.run(_scope.set, scope)
    return asyncio.get_running_loop().create_task(work, context=context)


async def contained(work: Awaitable[T]) -> T:
    """Await ``work`` for the task that runs it. Raises Exceptions and real cancellations only."""
    return await _contained(work, _scope.get() or AgentScope(), guards_cancellation=True)


async def contained_stream(stream: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield what ``stream`` yields, and close it. Raises as ``contained`` does."""
    scope = _scope.get() or AgentScope()
    try:
        while True:
            try:
                item = await anext(stream)
            except StopAsyncIteration:
                return
            except GeneratorExit as error:  # the agent's own: we are closed at the yield, not here
                raise AgentExit(error) from error
            except BaseException as error:
                if _is_ordinary(error, scope, guards_cancellation=True):
                    raise
                raise AgentExit(error) from error
            yield item
    finally:
        await contained(stream.aclose())


def install(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Contain on this loop the tasks and callbacks of agents. Returns the function that takes it back."""
    before = loop.get_task_factory()
    loop.set_task_factory(_factory(before))
    run_once = loop._run_once  # type: ignore[attr-defined]

    def guarded_run_once() -> None:
        try:
            run_once()
        except ENDS_A_LOOP as error:
            if not _is_an_agents(error):
                raise
            _tell(error)

    # Private, and called by run_forever for each round: the one place where a callback that an agent gave
    # to the loop (call_later, add_done_callback) can be kept from ending it.
    loop._run_once = guarded_run_once  # type: ignore[attr-defined]

    def uninstall() -> None:
        loop.set_task_factory(before)
        loop._run_once = run_once  # type: ignore[attr-defined]

    return uninstall


def scope_of(frame: FrameType) -> AgentScope | None:
    """Return the scope whose task this frame of a running stack drives, if it does."""
    found = frame.f_locals.get("scope") if frame.f_code is _contained.__code__ else None
    return found if isinstance(found, AgentScope) else None


async def _contained(work: Awaitable[T], scope: AgentScope, *, guards_cancellation: bool) -> T:
    try:
        return await work
    except BaseException as error:
        if _is_ordinary(error, scope, guards_cancellation=guards_cancellation):
            raise
        raise AgentExit(error) from error


def _is_ordinary(error: BaseException, scope: AgentScope, *, guards_cancellation: bool) -> bool:
    """Return whether asyncio and ADK expect such an exception from this task."""
    if isinstance(error, asyncio.CancelledError):
        return not guards_cancellation or _was_asked_for(scope)
    return isinstance(error, (Exception, NodeInterruptedError, GeneratorExit))


def _was_asked_for(scope: AgentScope) -> bool:
    task = asyncio.current_task()
    return bool(task and task.cancelling()) or bool(scope.abort and scope.abort.is_set())


def _factory(before: Any) -> Any:
    make = before or (lambda loop, work, **options: asyncio.Task(work, loop=loop, **options))

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        context: Context | None = options.get("context")
        scope = context.get(_scope) if context is not None else _scope.get()
        if scope is None or not asyncio.iscoroutine(work):
            return make(loop, work, **options)
        # An agent's or a library's own task may await one that was cancelled, and end as it did.
        is_adks = owner_of(_filename(work)) in (Owner.ADK, Owner.PARLEY)
        task = make(loop, _contained(work, scope, guards_cancellation=is_adks), **options)
        # A task that is cancelled before it began never awaits `work`, of which Python would warn.
        task.add_done_callback(lambda _task: work.close())
        return task

    return factory


def _filename(work: Any) -> str:
    code = getattr(work, "cr_code", None)
    return code.co_filename if code else ""


def _is_an_agents(error: BaseException) -> bool:
    """Return whether the loop's callback that raised works for an agent, or passed an agent's code."""
    frames = error.__traceback__
    while frames is not None:
        frame, frames = frames.tb_frame, frames.tb_next
        if frame.f_code is asyncio.Handle._run.__code__:
            context = frame.f_locals["self"]._context
            return context.get(_scope) is not None or may_quote_people(error)
    return False


def _tell(error: BaseException) -> None:
    log.error(
        "An agent's code raised %s in a callback of the event loop",
        type(error).__name__,
        extra={"fields": {"exception": logs.exception_of(error, with_message=False)}},
    )
