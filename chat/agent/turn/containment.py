"""Containment of exits in agents' code: they can end a tool call or a run, but not the server.

asyncio lets SystemExit and KeyboardInterrupt of a task end the loop, and takes any CancelledError for a
requested cancellation. ADK starts tasks for nodes, callbacks and tools. So each task that starts inside an
agent's run turns such an exception into an AgentExit.
"""

import asyncio
import contextvars
import logging
import traceback
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
LOOP_EXITS = (SystemExit, KeyboardInterrupt)


class AgentExit(Exception):
    """An agent's code raised SystemExit, KeyboardInterrupt or a CancelledError that no one requested.

    ``original`` is that exception.
    """

    def __init__(self, original: BaseException) -> None:
        super().__init__(": ".join(filter(None, [type(original).__name__, str(original)])))
        self.original = original


@dataclass(frozen=True, slots=True)
class AgentScope:
    """The run to which a task belongs. ADK cancels its own tasks after ``abort`` is set."""

    agent: str = ""
    run: str = ""
    abort: asyncio.Event | None = None


_scope: ContextVar[AgentScope | None] = ContextVar("scope", default=None)


def begin(work: Coroutine[Any, Any, T], scope: AgentScope) -> "asyncio.Task[T]":
    """Start ``work`` as a task of this scope. The tasks that it starts inherit the scope."""
    context = contextvars.copy_context()
    context.run(_scope.set, scope)
    return asyncio.get_running_loop().create_task(work, context=context)


async def contained(work: Awaitable[T]) -> T:
    """Await ``work`` in the current task. Raises only Exceptions and requested cancellations."""
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
            except GeneratorExit as error:  # raised by the agent: closing this generator raises at the yield
                raise AgentExit(error) from error
            except BaseException as error:
                if _is_ordinary(error, scope, guards_cancellation=True):
                    raise
                raise AgentExit(error) from error
            yield item
    finally:
        await contained(stream.aclose())


def install(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Contain the tasks and callbacks of agents on this loop. Returns the function that undoes it."""
    before = loop.get_task_factory()
    loop.set_task_factory(_contained_task_factory(before))
    run_once = loop._run_once  # type: ignore[attr-defined]

    def guarded_run_once() -> None:
        try:
            run_once()
        except LOOP_EXITS as error:
            if not _is_of_an_agent(error):
                raise
            _log_exit(error)

    # Private to asyncio: run_forever calls it for each iteration. It is the only place to catch an exit in a
    # callback that an agent gave to the loop (call_later, add_done_callback).
    loop._run_once = guarded_run_once  # type: ignore[attr-defined]

    def uninstall() -> None:
        loop.set_task_factory(before)
        loop._run_once = run_once  # type: ignore[attr-defined]

    return uninstall


def scope_of(frame: FrameType) -> AgentScope | None:
    """Return the scope if this frame of a running stack is the contained task's, else None."""
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
    """Return whether asyncio and ADK expect this exception from a task."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        is_requested = bool(task and task.cancelling()) or bool(scope.abort and scope.abort.is_set())
        return is_requested or not guards_cancellation
    return isinstance(error, (Exception, NodeInterruptedError, GeneratorExit))


def _contained_task_factory(before: Any) -> Any:
    make = before or (lambda loop, work, **options: asyncio.Task(work, loop=loop, **options))

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        context: Context | None = options.get("context")
        scope = context.get(_scope) if context is not None else _scope.get()
        if scope is None or not asyncio.iscoroutine(work):
            return make(loop, work, **options)
        # A task that an agent's or a library's code starts may await a cancelled task and end as cancelled.
        code = getattr(work, "cr_code", None)
        is_adk_or_parley = owner_of(code.co_filename if code else "") in (Owner.ADK, Owner.PARLEY)
        task = make(loop, _contained(work, scope, guards_cancellation=is_adk_or_parley), **options)
        # A task that is cancelled before its start never awaits `work`, and Python would warn about it.
        task.add_done_callback(lambda _task: work.close())
        return task

    return factory


def _is_of_an_agent(error: BaseException) -> bool:
    """Return whether the loop's callback that raised belongs to a run or called an agent's code."""
    for frame, _line in traceback.walk_tb(error.__traceback__):
        if frame.f_code is asyncio.Handle._run.__code__:
            context = frame.f_locals["self"]._context
            return context.get(_scope) is not None or may_quote_people(error)
    return False


def _log_exit(error: BaseException) -> None:
    log.error(
        "An agent's code raised %s in a callback of the event loop",
        type(error).__name__,
        extra={"fields": {"exception": logs.exception_of(error, with_message=False)}},
    )
