"""What holds for every tool of every agent: it answers in time, in plain JSON, and ends no run.

Two plugins of each app, around its own: the first one comes before them, the last one after them.
"""

import asyncio
import copy
import inspect
import json
from collections.abc import Awaitable, Callable
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
    """A copy of ``app`` that is called ``name`` and whose tools stay within the fences. Its own
    plugins and callbacks see what they would see without.
    """
    plugins = [TimedTools(name="parley_timed_tools"), *app.plugins, ToolErrors(name="parley_tool_errors")]
    return app.model_copy(update={"name": name, "plugins": plugins})


class TimedTools(BasePlugin):
    """Each tool that the model may call gets TOOL_SECONDS; then the model is told that it did not
    answer. The agent's own tool objects stay as they are.
    """

    async def before_model_callback(
        self, *, callback_context: CallbackContext, llm_request: LlmRequest
    ) -> None:
        tools = llm_request.tools_dict
        # What the folder's agents hold is confined since they were loaded; this is for those made meanwhile.
        local_code.confine(callback_context._invocation_context.agent, *tools.values())
        tools.update(
            {name: with_time_limit(tool) for name, tool in tools.items() if not _is_streaming_subagent(tool)}
        )

    async def after_model_callback(
        self, *, callback_context: CallbackContext, llm_response: LlmResponse
    ) -> None:
        if llm_response.error_message and not llm_response.error_code:
            llm_response.error_code = UNNAMED_ERROR  # ADK drops a response with a message alone


class ToolErrors(BasePlugin):
    """A tool that raises becomes an error result that the model sees, not the run's end."""

    async def on_tool_error_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext, error: BaseException
    ) -> dict[str, Any] | None:
        if isinstance(error, asyncio.CancelledError):
            return None
        told = str(error) if isinstance(error, AgentExit) else f"{type(error).__name__}: {error}"
        return await _own_answer(tool, tool_args, tool_context, error) or {"error": clean_text(told)}


async def _own_answer(
    tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext, error: BaseException
) -> dict[str, Any] | None:
    """What the agent's own callbacks make of the error: ADK asks them after the plugins."""
    agent = tool_context._invocation_context.agent
    for callback in agent.canonical_on_tool_error_callbacks if isinstance(agent, LlmAgent) else []:
        answer: Any = callback(tool=tool, args=tool_args, tool_context=tool_context, error=error)  # type: ignore[call-arg]
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is not None:
            return dict(answer)
    return None


def _is_streaming_subagent(tool: BaseTool) -> bool:
    """Whether it is a sub-agent that ADK runs as a tool, whose words are streamed as they come: it
    has the deadlines of any agent. An AgentTool shows nothing until it is done.
    """
    return isinstance(tool, AgentTool) and type(tool) is not AgentTool


def with_time_limit(tool: BaseTool) -> BaseTool:
    """A copy of ``tool`` that may take TOOL_SECONDS.

    A tool that does not let itself be cancelled is left to itself: it holds up neither the run nor
    a stop. Its result is plain JSON: an infinity, half a surrogate or an object of the tool's would
    end the run, since the model's next request could not be written.
    """
    run = tool.run_async

    async def run_async(*, args: dict[str, Any], tool_context: ToolContext) -> Any:
        return await _within_time(tool.name, run(args=args, tool_context=tool_context))

    limited = copy.copy(tool)
    _put(limited, run_async)
    return limited


def _put(tool: BaseTool, run_async: Callable[..., Awaitable[Any]]) -> None:
    vars(tool)["run_async"] = run_async


async def _within_time(name: str, work: Awaitable[Any]) -> Any:
    call = asyncio.ensure_future(contained(work))
    _calls.add(call)
    call.add_done_callback(_forget)
    try:
        await asyncio.wait([call], timeout=settings.TOOL_SECONDS)
    finally:
        call.cancel()
    if not call.done():
        return {"error": f"{name} did not answer within {settings.TOOL_SECONDS:g} s."}
    return _plain(call.result())


_calls: set["asyncio.Future[Any]"] = set()  # asyncio itself holds its tasks weakly


def _forget(call: "asyncio.Future[Any]") -> None:
    _calls.discard(call)
    if not call.cancelled():
        call.exception()  # looked at: what a tool says after its time interests nobody


def _plain(result: Any) -> Any:
    try:
        json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        # ADK's own types (a picture, say) are for ADK to understand.
        return (
            result if isinstance(result, BaseModel) else clean_json(to_jsonable_python(result, fallback=repr))
        )
    return result
