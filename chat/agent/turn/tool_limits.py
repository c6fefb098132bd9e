"""The limits of every tool of every agent: it has a time limit, returns plain JSON, and cannot end a run."""

import asyncio
import contextvars
import copy
import inspect
import json
from collections.abc import Awaitable
from typing import Any

from django.conf import settings
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from google.adk.agents import BaseAgent, LlmAgent
from google.adk.agents.callback_context import CallbackContext
from google.adk.apps import App, ResumabilityConfig
from google.adk.code_executors.base_code_executor import BaseCodeExecutor
from google.adk.models import LlmRequest, LlmResponse
from google.adk.plugins import BasePlugin
from google.adk.plugins.plugin_manager import PluginManager
from google.adk.tools import AgentTool, BaseTool, ToolContext
from google.adk.tools.base_toolset import BaseToolset
from google.adk.tools.bash_tool import ExecuteBashTool
from google.genai import types
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from chat import hooks
from chat.agent.memory.model_calls import CountedCalls
from chat.agent.memory.request_files import FilledFiles
from chat.agent.memory.requests import is_asked_by_adk
from chat.agent.turn import approvals, deadlines, local_code
from chat.agent.turn.containment import AgentExit, contained
from chat.agent.turn.failure_codes import UNNAMED_ERROR
from chat.events import clean_json, clean_text
from chat.models import PersonRequest


class LimitTooLarge(Exception):
    """An agent's tool has a larger time limit than Parley gives it. ``reason`` is a sentence for members."""

    def __init__(self, reason: str | Promise) -> None:
        super().__init__(str(reason))
        self.reason = reason


def with_tool_limits(app: App, name: str) -> App:
    """Return a copy of ``app`` with the name ``name`` and limits for its tools and model calls.

    Raises LimitTooLarge: a tool that its author gave more time would be cut off in the middle of its work.
    """
    _check_own_limits(app.root_agent)
    # Some before the app's own and one after them: these and callbacks see the same as without limits.
    plugins = [
        CountedCalls(name="parley_counted_calls"),
        FilledFiles(name="parley_filled_files"),
        TimedTools(name="parley_timed_tools"),
        *app.plugins,
        ToolErrors(name="parley_tool_errors"),
    ]
    changes: dict[str, Any] = {"name": name, "plugins": plugins}
    root = app.root_agent
    if app.resumability_config is None and isinstance(root, BaseAgent) and not isinstance(root, LlmAgent):
        # Otherwise ADK 2.13 forgets the later agents of a sequence when a person answers an earlier one.
        changes["resumability_config"] = ResumabilityConfig(is_resumable=True)
    return app.model_copy(update=changes)


def _check_own_limits(root: Any) -> None:
    for found in local_code.reachable([root], (BaseCodeExecutor, BaseToolset, ExecuteBashTool)):
        # An executor has its limit itself, a McpToolset in its connection, an ExecuteBashTool in its policy.
        holder = getattr(found, "_connection_params", None) or getattr(found, "_policy", None) or found
        limits = [_own_limit(holder, name) for name in ("timeout_seconds", "timeout", "sse_read_timeout")]
        if max(limits) > settings.TOOL_SECONDS:
            sentence = _("Its {tool} has a time limit of {seconds} s, and TOOL_SECONDS is less.")
            adk_class = next(each for each in type(found).__mro__ if not each.__module__.startswith("chat."))
            raise LimitTooLarge(format_lazy(sentence, tool=adk_class.__name__, seconds=f"{max(limits):g}"))


def _own_limit(holder: object, name: str) -> float:
    """Return the seconds that the agent's author set, else 0: ADK's own defaults are up to 300 s."""
    value = getattr(holder, name, None)
    is_set = (
        name in holder.model_fields_set
        if isinstance(holder, BaseModel)
        else value != getattr(type(holder), name, None)
    )
    return float(value) if is_set and isinstance(value, int | float) else 0.0


class TimedTools(BasePlugin):
    """Gives each tool call TOOL_SECONDS; then the model receives an error result.

    The agent's own tool objects stay unchanged.
    """

    async def before_model_callback(
        self, *, callback_context: CallbackContext, llm_request: LlmRequest
    ) -> None:
        context = callback_context._invocation_context
        if deadline := deadlines.run_deadline.get():
            deadline.model_called(context.branch)
        tools = llm_request.tools_dict
        # Tools in AGENTS_DIR are confined when they are loaded; this is for tools created later.
        local_code.confine(context.agent, *tools.values())
        if context.live_request_queue is None:  # in a call, before_tool_callback does it
            limited = {n: with_time_limit(t) for n, t in tools.items() if not _is_streaming_subagent(t)}
            tools.update(limited)

    async def before_tool_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext
    ) -> dict[str, Any] | None:
        for check in hooks.check_tool_call:
            if refused := check(tool_context.agent_name, tool.name, tool_args):
                return {"error": refused}
        approved = approvals.current_approvals.get()
        request = approved.requests.get(tool_context.function_call_id or "") if approved else None
        if approved and request and tool_context.tool_confirmation:
            if request.decision == PersonRequest.Decision.APPROVE:
                await approved.start(request)
            elif _asked_by_adk(request, tool_context):
                # ADK asks the tool again whether it needs a confirmation. If it no longer does, for example
                # at another time of day, ADK would run a tool that a person has rejected.
                return {"error": "This tool call is rejected."}
            # ADK runs it before any model call, from the agent's own list of tools.
            _limit(tool)
        elif tool_context._invocation_context.live_request_queue is not None:
            # ADK tells plugins of a live model's calls only after the tools are chosen.
            local_code.confine(tool)
            _limit(tool)
        return None

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
        is_unknown = type(tool) is BaseTool  # the model invented its name, and ADK tells it the others
        if is_unknown or isinstance(error, asyncio.CancelledError):
            return None
        message = str(error) if isinstance(error, AgentExit) else f"{type(error).__name__}: {error}"
        return await _callback_result(tool, tool_args, tool_context, error) or {"error": clean_text(message)}


PARLEYS_PLUGINS = (CountedCalls, FilledFiles, TimedTools, ToolErrors)


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


def _asked_by_adk(request: PersonRequest, tool_context: ToolContext) -> bool:
    calls = (
        call
        for event in tool_context._invocation_context.session.events
        for call in event.get_function_calls()
    )
    return any(call.id == request.asking_call and is_asked_by_adk({"args": call.args}) for call in calls)


def _is_streaming_subagent(tool: BaseTool) -> bool:
    """Return whether it is a sub-agent that ADK runs as a tool and whose text is streamed.

    It has an agent's deadlines instead. A plain AgentTool shows nothing until it is done.
    """
    return isinstance(tool, AgentTool) and type(tool) is not AgentTool


def _limit(tool: BaseTool) -> None:
    """Give the tool itself its time limit, unless it has one or streams."""
    is_generator = inspect.isasyncgenfunction(getattr(tool, "func", None))
    if "run_async" not in vars(tool) and not is_generator and not _is_streaming_subagent(tool):
        vars(tool).update(vars(with_time_limit(tool)))


def with_time_limit(tool: BaseTool) -> BaseTool:
    """Return a copy of ``tool`` whose calls end after TOOL_SECONDS and return plain JSON.

    A tool that ignores its cancellation continues in the background: it delays neither the run nor a stop.
    """
    limited = copy.copy(tool)
    run = limited.run_async
    is_isolated = isinstance(limited, AgentTool) and not limited.include_plugins
    if isinstance(limited, AgentTool):
        limited.include_plugins = True

    async def run_async(*, args: dict[str, Any], tool_context: ToolContext) -> Any:
        context = _with_parleys_plugins(tool_context) if is_isolated else tool_context
        branch = tool_context._invocation_context.branch
        return await _within_time(tool.name, branch, run(args=args, tool_context=context))

    vars(limited)["run_async"] = run_async
    return limited


def _with_parleys_plugins(context: ToolContext) -> ToolContext:
    """Return a copy of the context without the app's own plugins, for an AgentTool that excludes plugins."""
    invocation = context._invocation_context
    plugins = invocation.plugin_manager.plugins
    manager = PluginManager([plugin for plugin in plugins if isinstance(plugin, PARLEYS_PLUGINS)])
    isolated = copy.copy(context)
    isolated._invocation_context = invocation.model_copy(update={"plugin_manager": manager})
    return isolated


async def _within_time(name: str, branch: str | None, work: Awaitable[Any]) -> Any:
    deadline = deadlines.run_deadline.get()
    context = contextvars.copy_context()
    context.run(deadlines.run_deadline.set, None)
    call = asyncio.get_running_loop().create_task(contained(work), context=context)
    _calls.add(call)
    call.add_done_callback(_unregister)
    if deadline:
        deadline.tool_began(branch)
    try:
        await asyncio.wait([call], timeout=settings.TOOL_SECONDS)
    finally:
        call.cancel()
        if deadline:
            deadline.tool_ended(branch)
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
        if not isinstance(result, BaseModel):  # ADK encodes its own types, such as a list of memories
            return _plain_container(result)
    return result


def _plain_container(value: Any) -> Any:
    """Return ``value`` as JSON, except for pictures and other media, which ADK takes out of containers."""
    if isinstance(value, types.Part):
        return value
    if isinstance(value, dict):
        return {clean_text(str(key)): _plain_container(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_container(each) for each in value]
    return clean_json(to_jsonable_python(value, fallback=repr))
