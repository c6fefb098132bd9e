"""The limits of every tool of every agent: it has a time limit, returns plain JSON, and cannot end a run."""

import asyncio
import copy
import inspect
import json
from collections.abc import Awaitable
from typing import Any

from django.conf import settings
from google.adk.agents import LlmAgent
from google.adk.agents.callback_context import CallbackContext
from google.adk.apps import App
from google.adk.models import LlmRequest, LlmResponse
from google.adk.plugins import BasePlugin
from google.adk.tools import AgentTool, BaseTool, ToolContext
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from chat.agent.turn import local_code
from chat.agent.turn.containment import AgentExit, contained
from chat.agent.turn.failure_codes import UNNAMED_ERROR
from chat.events import clean_json, clean_text


def with_tool_limits(app: App, name: str) -> App:
    """Return a copy of ``app`` with the name ``name`` and limits for its tools."""
    # One plugin before the app's own and one after them: these and callbacks see the same as without limits.
    plugins = [TimedTools(name="parley_timed_tools"), *app.plugins, ToolErrors(name="parley_tool_errors")]
    return app.model_copy(update={"name": name, "plugins": plugins})


class TimedTools(BasePlugin):
    """Gives each tool call TOOL_SECONDS; then the model receives an error result.

    The agent's own tool objects stay unchanged.
    """

    async def before_model_callback(
        self, *, callback_context: CallbackContext, llm_request: LlmRequest
    ) -> None:
        tools = llm_request.tools_dict
        # Tools in AGENTS_DIR are confined when they are loaded; this is for tools created later.
        local_code.confine(callback_context._invocation_context.agent, *tools.values())
        tools.update(
            {name: with_time_limit(tool) for name, tool in tools.items() if not _is_streaming_subagent(tool)}
        )

    async def after_model_callback(
        self, *, callback_context: CallbackContext, llm_response: LlmResponse
    ) -> None:
        if llm_response.error_message and not llm_response.error_code:
            llm_response.error_code = UNNAMED_ERROR  # ADK 2.13 drops a response that has only a message


class ToolErrors(BasePlugin):
    """Turns an exception of a tool into an error result for the model, so that it does not end the run."""

    async def on_tool_error_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext, error: BaseException
    ) -> dict[str, Any] | None:
        if isinstance(error, asyncio.CancelledError):
            return None
        message = str(error) if isinstance(error, AgentExit) else f"{type(error).__name__}: {error}"
        return await _callback_result(tool, tool_args, tool_context, error) or {"error": clean_text(message)}


async def _callback_result(
    tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext, error: BaseException
) -> dict[str, Any] | None:
    """Return the result that the agent's own error callbacks give, or None."""
    # ADK 2.13 calls them only after the plugins, and not at all if a plugin returns a result.
    agent = tool_context._invocation_context.agent
    for callback in agent.canonical_on_tool_error_callbacks if isinstance(agent, LlmAgent) else []:
        result: Any = callback(tool=tool, args=tool_args, tool_context=tool_context, error=error)  # type: ignore[call-arg]
        if inspect.isawaitable(result):
            result = await result
        if result is not None:
            return dict(result)
    return None


def _is_streaming_subagent(tool: BaseTool) -> bool:
    """Return whether it is a sub-agent that ADK runs as a tool and whose text is streamed.

    It has an agent's deadlines instead. A plain AgentTool shows nothing until it is done.
    """
    return isinstance(tool, AgentTool) and type(tool) is not AgentTool


def with_time_limit(tool: BaseTool) -> BaseTool:
    """Return a copy of ``tool`` whose calls end after TOOL_SECONDS and return plain JSON.

    A tool that ignores its cancellation continues in the background: it delays neither the run nor a stop.
    """
    run = tool.run_async

    async def run_async(*, args: dict[str, Any], tool_context: ToolContext) -> Any:
        return await _within_time(tool.name, run(args=args, tool_context=tool_context))

    limited = copy.copy(tool)
    vars(limited)["run_async"] = run_async
    return limited


async def _within_time(name: str, work: Awaitable[Any]) -> Any:
    call = asyncio.ensure_future(contained(work))
    _calls.add(call)
    call.add_done_callback(_unregister)
    try:
        await asyncio.wait([call], timeout=settings.TOOL_SECONDS)
    finally:
        call.cancel()
    if not call.done():
        return {"error": f"{name} did not answer within {settings.TOOL_SECONDS:g} s."}
    return _plain_json(call.result())


_calls: set["asyncio.Future[Any]"] = set()  # asyncio holds only weak references to its tasks


def _unregister(call: "asyncio.Future[Any]") -> None:
    _calls.discard(call)
    if not call.cancelled():
        call.exception()  # retrieve it so that asyncio does not log it: late results are dropped


def _plain_json(result: Any) -> Any:
    # An infinity, a lone surrogate or an object of the tool's would end the run: ADK could not encode the
    # model's next request.
    try:
        json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        if not isinstance(result, BaseModel):  # ADK encodes its own types, for example an image
            return clean_json(to_jsonable_python(result, fallback=repr))
    return result
