"""The agent's reply as Parley's events, translated from the events of ADK's ``Runner.run_async``.

ADK sends each model call as fragments (``partial``) and then as one whole event, which is authoritative:

    ADK's event                             Parley's events
    fragment                                its text, thought or code, immediately
    whole, same text as its fragments       pieces that no fragment had, and tool calls and results
    whole, other text than its fragments    ``replace``, then as above
    whole, no fragments before it           all of it
    whole, with state only                  none: later text still belongs to the same model call
    whole, output of ADK's root node        the output, if the event has no content
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, field

from django.conf import settings
from django.utils.translation import gettext as _
from google.adk.agents.run_config import RunConfig, StreamingMode, ToolThreadPoolConfig
from google.adk.events import Event as AdkEvent
from google.adk.runners import Runner
from google.adk.telemetry.context import ContentCapturingMode, TelemetryConfig
from google.adk.workflow import Workflow
from google.genai import types

from chat import endings, events
from chat.agent.memory import model_calls
from chat.agent.memory.payload import branch_of_call
from chat.agent.memory.requests import result_of
from chat.agent.memory.session_data import SessionData
from chat.agent.memory.session_service import ConversationSessionService
from chat.agent.turn import approvals, deadlines, failure_codes, parts
from chat.agent.turn.containment import contained_stream
from chat.agent.turn.reply_text import ReplyText
from chat.agent.turn.sources import ReplySources
from chat.agent.turn.turn_taking import ROOT_BRANCH, TurnTaking
from chat.events import Event, Usage
from chat.models import PersonRequest, Run

USER, MODEL = "user", "model"  # authors in ADK that are not agents
AUTHOR_LENGTH = 128  # characters in Message.agent
MAX_TOKENS = "MAX_TOKENS"
# Error codes and finish reasons that are not failures. ADK uses the first one for an abort.
NOT_FAILURES = {"INVOCATION_ABORTED", "STOP", MAX_TOKENS, "FINISH_REASON_UNSPECIFIED"}

# Keeps the content of messages out of ADK's spans and log records, in spite of any environment variable.
# One object for all runs: with it, ADK 2.13 does not read seven variables for each fragment (-17 % CPU).
TELEMETRY = TelemetryConfig(capture_message_content=ContentCapturingMode.NO_CONTENT)


@dataclass(slots=True)
class ReplyTranslator:
    """Translator of one reply. Read ``events()``, then ``finish``, ``usage`` and ``model``.

    If ``events()`` is cut short, ``flush()`` returns the events that it still buffers.
    """

    session: SessionData
    runner_of: Callable[[str], Runner]  # raises LookupError
    in_use: Callable[[Runner], AbstractContextManager[None]]  # for as long as the run uses its Runner
    streams: bool = True
    abort: asyncio.Event = field(default_factory=asyncio.Event)
    finish: str = "stop"  # the model ended normally; a member's stop is a status, not a finish
    usage: Usage = field(default_factory=Usage)
    model: str = ""  # as its provider reports it, else as the root agent names it
    used_tools: bool = False  # only tools that can have an effect, so not those of ADK
    pending_calls: set[str] = field(default_factory=set)  # ids of calls that wait for the user
    _turn_taking: TurnTaking = field(default_factory=TurnTaking)
    _root: str = ""  # ADK's name for the root agent
    _is_workflow: bool = False
    _text: ReplyText = field(default_factory=ReplyText)
    _sources: ReplySources = field(default_factory=ReplySources)
    _author: str = ""
    _called_at: dict[str, float] = field(default_factory=dict)  # time.monotonic() of calls without a result
    _elapsed_ms: dict[str, int] = field(default_factory=dict)  # of calls with a result that is not shown yet
    _failed: list[Event] = field(default_factory=list)  # names of agents that are not shown yet
    _failures: dict[str, failure_codes.AgentFailure] = field(default_factory=dict)  # by ADK branch

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the agent's events as they come. Raises AgentFailure."""
        try:
            runner = self.runner_of(self.session.agent)
        except LookupError as error:
            raise failure_codes.AgentFailure("unavailable", str(error)) from error
        service = runner.session_service
        assert isinstance(service, ConversationSessionService)
        self._root, self._author = runner.agent.name, self.session.agent
        self._is_workflow = isinstance(runner.agent, Workflow)
        named = getattr(runner.agent, "model", "")
        self.model = named if isinstance(named, str) else getattr(named, "model", "")
        model_calls.current.set(model_calls.ModelCalls(self.usage))
        with self.in_use(runner), service.attached(self.session):
            for event in self._decided_calls():
                yield event
            try:
                await approvals.start_nodes()
                for message in _messages(self.session, splits=not self._is_workflow):
                    stream = runner.run_async(
                        user_id=self.session.user_id,
                        session_id=self.session.conversation_id,
                        new_message=message,
                        run_config=run_config(streams=self.streams),
                        abort_signal=self.abort,
                    )
                    async with aclosing(contained_stream(stream)) as adk_events:
                        async for adk_event in adk_events:
                            self._track(adk_event)
                            for event in self._translate_all(self._turn_taking.add(adk_event)):
                                yield event
            except Exception as error:
                is_parleys_agent = self.session.agent == settings.AGENT_NAME
                failure = failure_codes.failure_of_exception(error, is_parleys_agent=is_parleys_agent)
                self._name_failed(failure)
                raise failure from error
        for event in self.flush():
            yield event
        is_answered = self.used_tools or self.pending_calls or self._text.says_something
        raised = [each for each in self._failures.values() if each.code != "empty" or not is_answered]
        for failure in raised:
            self._name_failed(failure)
        if raised:
            raise raised[0]

    def _decided_calls(self) -> list[Event]:
        """Return the calls that a person has decided: ADK answers them without another event of the call."""
        decided = [each for each in self.session.answers if each.kind == PersonRequest.Kind.CONFIRM]
        for request in decided:
            self._called_at[request.call] = time.monotonic()
            self.used_tools = True
        return [
            events.tool_called(each.call, each.tool, each.args) for each in decided if not each.is_of_node
        ]

    def flush(self) -> list[Event]:
        """Return the events of parallel agents that were not shown yet, the sources, and the failed agents.

        The session has the whole ones, so the model will know them: the user must see them too. The fragments
        of the others are shown if one agent failed: their words are not lost with it.
        """
        found = self._translate_all(self._turn_taking.flush(fragments=bool(self._failed)))
        sources = self._sources.event()
        failed, self._failed = self._failed, []
        return [*found, *([sources] if sources else []), *(failed if self._text.says_something else [])]

    def _name_failed(self, failure: failure_codes.AgentFailure) -> None:
        """Name the agent that failed beside others; the end of the run has the code."""
        if failure.agent not in ("", self._root, USER, MODEL):
            detail = str(endings.explain(Run.Status.FAILED, failure.code)["detail"])
            self._failed.append(events.agent_failed(failure.agent[:AUTHOR_LENGTH], failure.code, detail))

    def _track(self, adk_event: AdkEvent) -> None:
        """Record tool calls, times and failures when they happen, even if they are shown later."""
        if deadline := deadlines.run_deadline.get():
            deadline.advanced(adk_event.branch)
        self.model = adk_event.model_version or self.model
        if adk_event.partial or adk_event.author == USER:
            return
        for call in adk_event.get_function_calls():
            self._called_at[call.id or ""] = time.monotonic()
            self.used_tools = self.used_tools or call.name not in events.ADK_TOOLS
            if call.id and call.id in (adk_event.long_running_tool_ids or ()):
                self.pending_calls.add(call.id)
        for response in adk_event.get_function_responses():
            called_at = self._called_at.pop(response.id or "", time.monotonic())
            self._elapsed_ms[response.id or ""] = round((time.monotonic() - called_at) * 1000)
            self.pending_calls.discard(response.id or "")
        self._update_failures(adk_event)

    def _update_failures(self, adk_event: AdkEvent) -> None:
        """Keep the last failure of each ADK branch.

        An event with content or output clears the failures of its own branch and of branches inside it; one
        of the root branch clears all.
        """
        branch = adk_event.branch or ROOT_BRANCH
        if failure := self._failure_of(adk_event):
            failure.agent = adk_event.author
            self._failures[branch] = failure
        elif adk_event.content or adk_event.output is not None:
            for failed in list(self._failures):
                if branch in (ROOT_BRANCH, failed) or failed.startswith(f"{branch}."):
                    del self._failures[failed]

    def _translate_all(self, adk_events: Iterable[AdkEvent]) -> list[Event]:
        return [event for adk_event in adk_events for event in self._translate(adk_event)]

    def _translate(self, adk_event: AdkEvent) -> list[Event]:
        if adk_event.author == USER:
            return []
        found = self._new_author(adk_event)
        if adk_event.partial:
            return found + self._text.fragment(adk_event.content)
        return found + self._translate_whole(adk_event) + self._step(adk_event) + _files(adk_event)

    def _step(self, adk_event: AdkEvent) -> list[Event]:
        """Return the step of a workflow that is done with this event: not that of the root, its reply."""
        path = adk_event.node_info.path
        if not self._is_workflow or "/" not in path or path not in (adk_event.node_info.output_for or ()):
            return []
        name = path.rpartition("/")[2].partition("@")[0]
        is_shown = adk_event.content is not None or _is_reply(adk_event)  # the output is text of the reply
        return [events.step(name, path, None if is_shown else adk_event.output)]

    def _new_author(self, adk_event: AdkEvent) -> list[Event]:
        author = self.session.agent if adk_event.author == self._root else adk_event.author[:AUTHOR_LENGTH]
        if author in (self._author, MODEL, "") or not (adk_event.content or adk_event.output is not None):
            return []
        self._author = author
        if self._text.is_unfinished:  # of the previous agent
            self._text.end_model_call()
        return [events.agent(author)]

    def _translate_whole(self, adk_event: AdkEvent) -> list[Event]:
        if adk_event.content:
            shown = self._text.whole(adk_event.content)
            self._sources.add(adk_event, *self._text.last_call)
            return shown + self._tools(adk_event)
        return self._text.output(adk_event.output) if _is_reply(adk_event) else []

    def _tools(self, adk_event: AdkEvent) -> list[Event]:
        calls = [
            events.tool_called(call.id or "", call.name or "", call.args or {})
            for call in adk_event.get_function_calls()
        ]
        return calls + [self._returned(response) for response in adk_event.get_function_responses()]

    def _returned(self, response: types.FunctionResponse) -> Event:
        call_id, name = response.id or "", response.name or ""
        result = response.response or {}
        if files := [parts.placeholder(part) for part in response.parts or []]:
            result = {**result, "files": files}
        elapsed = self._elapsed_ms.pop(call_id, 0)
        if set(result) == {"error"}:
            return events.tool_returned(call_id, name, error=str(result["error"]), elapsed_ms=elapsed)
        return events.tool_returned(call_id, name, result=result, elapsed_ms=elapsed)

    def _failure_of(self, adk_event: AdkEvent) -> failure_codes.AgentFailure | None:
        """Return the failure that the event reports, and set ``finish`` from its finish reason."""
        # Without streaming, ADK 2.13 reports why a text was cut only in finish_reason.
        reason = adk_event.finish_reason and adk_event.finish_reason.value
        if reason:
            self.finish = "max_tokens" if reason == MAX_TOKENS else "stop"
        code = adk_event.error_code or reason
        if code is None and adk_event.error_message:
            return failure_codes.failure_of_event(failure_codes.UNNAMED_ERROR, adk_event.error_message)
        if code is None or code in NOT_FAILURES:
            return None
        # A provider's own word for the end of a complete answer: LiteLlm gives OTHER for each that it lacks.
        is_complete = code == reason and parts.text_of(parts.pieces_of(adk_event.content)).strip()
        if is_complete and not failure_codes.is_known(code):
            return None
        return failure_codes.failure_of_event(code, adk_event.error_message or "")


def _is_reply(adk_event: AdkEvent) -> bool:
    """Return whether the event's output is that of the root node, whose path has no "/"."""
    is_of_root = any("/" not in path for path in adk_event.node_info.output_for or ())
    return is_of_root and adk_event.output is not None and not adk_event.content


def _messages(session: SessionData, *, splits: bool) -> list[types.Content]:
    """Return the member's question, or the answers to the requests of an earlier run.

    With ``splits``, answers to parallel agents are messages of their own: ADK gives a message only to the
    branch of its first call. It goes on with the agents after them when all have an answer.
    """
    if not session.answers:
        return [types.Content(role="user", parts=[types.Part(text=session.prompt)])]
    branches: dict[str, list[types.Part]] = {}
    for request in session.answers:
        result = types.FunctionResponse(**result_of(request))
        branch = branch_of_call(session.past, request.asking_call) if splits else ""
        branches.setdefault(branch, []).append(types.Part(function_response=result))
    return [types.Content(role="user", parts=parts) for parts in branches.values()]


def _files(adk_event: AdkEvent) -> list[Event]:
    """Return an event for each artifact that a tool, a callback or a code executor saved."""
    return [
        events.file(name, version, note=_("kept until the server restarts"))
        for name, version in adk_event.actions.artifact_delta.items()
    ]


def run_config(*, streams: bool) -> RunConfig:
    return RunConfig(
        streaming_mode=StreamingMode.SSE if streams else StreamingMode.NONE,
        max_llm_calls=settings.MODEL_CALLS,
        tool_thread_pool_config=ToolThreadPoolConfig(max_workers=settings.TOOL_THREADS),
        telemetry=TELEMETRY,
    )
