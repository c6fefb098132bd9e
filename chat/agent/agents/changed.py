"""Check whether the tool that waits for an answer is still the one that asked."""

import inspect
from collections.abc import Sequence

from google.adk.agents import LlmAgent, LoopAgent, ParallelAgent, SequentialAgent
from google.adk.tools import BaseTool, FunctionTool
from google.adk.tools.base_toolset import BaseToolset

from chat import refusals
from chat.agent.agents import catalog
from chat.agent.memory.payload import author_of, calls_of
from chat.agent.memory.requests import is_asked_by_adk
from chat.agent.turn.local_code import reachable
from chat.models import PersonRequest
from chat.refusals import Refusal
from chat.waiting import Answer

# Agents whose sub-agents are known before they run.
PLAIN_AGENTS = (LlmAgent, SequentialAgent, LoopAgent, ParallelAgent)


def changed_refusal(answers: Sequence[Answer]) -> Refusal | None:
    """Return the 409 refusal if ADK could not go on with one of these answers. Call it on a thread.

    ADK would raise in the middle of the run, when the decision is stored already.
    """
    if not answers:
        return None
    named = PersonRequest.objects.filter(pk__in=[answer.request for answer in answers], decision="")
    requests = named.select_related("run__conversation")
    return refusals.changed() if any(map(_has_changed, requests)) else None


def _has_changed(request: PersonRequest) -> bool:
    """Return whether the agent is gone, or the tool as far as it is known before the agent runs."""
    try:
        root = catalog.runner_of(request.run.conversation.agent).agent
    except LookupError:
        return True
    asked = request.run.session_events.filter(payload__contains=request.asking_call)
    payload = asked.order_by("position").values_list("payload", flat=True).first()
    if payload is None or request.kind == PersonRequest.Kind.INPUT:
        return False
    author = author_of(payload)
    agents = [each for each in reachable([root], (LlmAgent,)) if each.name == author]
    if not agents:
        # A workflow's node, or an agent of the author's own class, may build agents when it runs.
        return isinstance(root, PLAIN_AGENTS) and all(
            isinstance(each, PLAIN_AGENTS) for each in root.sub_agents
        )
    tools = [tool for agent in agents for tool in agent.tools]
    named = [tool for tool in tools if _name_of(tool) == request.tool]
    if not named:
        # The tools of a toolset may be on another server: they are not listed here.
        return not any(isinstance(tool, BaseToolset) for tool in tools)
    asking = next((call for call in calls_of(payload) if call.get("id") == request.asking_call), {})
    return request.kind == PersonRequest.Kind.CONFIRM and not any(
        _takes(tool, request, is_static=is_asked_by_adk(asking)) for tool in named
    )


def _name_of(tool: object) -> str:
    return tool.name if isinstance(tool, BaseTool) else str(getattr(tool, "__name__", ""))


def _takes(tool: object, request: PersonRequest, *, is_static: bool) -> bool:
    """Return whether the tool takes the arguments that were asked about, each of them.

    ADK drops an argument without a parameter: what was approved would not be what is done. ``is_static``
    says that ADK asked, because the tool has ``require_confirmation``.
    """
    if not isinstance(tool, BaseTool) and callable(tool):
        tool = FunctionTool(tool)
    if not isinstance(tool, FunctionTool):
        return True
    if is_static and not tool._require_confirmation:
        return False
    try:
        args, errors = tool._preprocess_args_with_validation(request.args)
    except Exception:  # noqa: BLE001 (the agent's own types may raise anything)
        return False
    if errors or not set(tool._get_mandatory_args()) <= args.keys():
        return False
    parameters = tool._spec.signature.parameters if tool._spec.has_signature else {}
    takes_any = not parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return takes_any or args.keys() <= parameters.keys()
