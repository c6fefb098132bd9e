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
from contextlib import aclosing
from dataclasses import dataclass, field

from django.conf import settings
from django.utils.translation import gettext as _
from google.adk.agents.run_config import RunConfig, StreamingMode, ToolThreadPoolConfig
from google.adk.events import Event as AdkEvent
from google.adk.runners import Runner
from google.adk.telemetry.context import ContentCapturingMode, TelemetryConfig
from google.genai import types

from chat import events
from chat.agent.memory.session_data import SessionData
from chat.agent.memory.session_service import ConversationSessionService
from chat.agent.turn import failure_codes
from chat.agent.turn.containment import contained_stream
from chat.agent.turn.reply_text import ReplyText
from chat.agent.turn.turn_taking import ROOT_BRANCH, TurnTaking
from chat.events import Event, Usage

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
    """Translator of one reply. Read ``events()``, then ``finish`` and ``usage``.

    If ``events()`` is cut short, ``flush()`` returns the events that it still buffers.
    """

    session: SessionData
    runner_of: Callable[[str], Runner]  # raises LookupError
    streams: bool = True
    abort: asyncio.Event = field(default_factory=asyncio.Event)
    finish: str = "stop"  # the model ended normally; a member's stop is a status, not a finish
    usage: Usage = field(default_factory=Usage)
    used_tools: bool = False  # only tools that can have an effect, so not those of ADK
    pending_calls: set[str] = field(default_factory=set)  # ids of calls that wait for the user
    _turn_taking: TurnTaking = field(default_factory=TurnTaking)
    _root: str = ""  # ADK's name for the root agent
    _text: ReplyText = field(default_factory=ReplyText)
    _author: str = ""
    _called_at: dict[str, float] = field(default_factory=dict)  # time.monotonic() of calls without a result
    _elapsed_ms: dict[str, int] = field(default_factory=dict)  # of calls with a result that is not shown yet
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
        with service.attached(self.session):
            try:
                stream = runner.run_async(
                    user_id=self.session.user_id,
                    session_id=self.session.conversation_id,
                    new_message=types.Content(role="user", parts=[types.Part(text=self.session.prompt)]),
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
                raise failure_codes.failure_of_exception(error, is_parleys_agent=is_parleys_agent) from error
        for event in self.flush():
            yield event
        is_answered = self.used_tools or self.pending_calls or self._text.says_something
        for failure in self._failures.values():
            if failure.code != "empty" or not is_answered:
                raise failure

    def flush(self) -> list[Event]:
        """Return the buffered whole events of parallel agents, which were not shown yet.

        The session has them, so the model will know them: the user must see them too.
        """
        return self._translate_all(self._turn_taking.flush())

    def _track(self, adk_event: AdkEvent) -> None:
        """Record usage, tool calls, times and failures when they happen, even if they are shown later."""
        if adk_event.partial or adk_event.author == USER:
            return
        self._count_usage(adk_event)
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
        return found + self._translate_whole(adk_event) + _files(adk_event)

    def _count_usage(self, adk_event: AdkEvent) -> None:
        """Add the usage of a whole event; the last fragment has the same figures."""
        usage, reported = self.usage, adk_event.usage_metadata
        if adk_event.content and adk_event.content.role == "model":
            usage.calls += 1
        if reported is None:
            return
        usage.input += reported.prompt_token_count or 0
        usage.output += reported.candidates_token_count or 0
        usage.thought += reported.thoughts_token_count or 0
        usage.cached += reported.cached_content_token_count or 0
        usage.total += reported.total_token_count or 0

    def _new_author(self, adk_event: AdkEvent) -> list[Event]:
        author = self.session.agent if adk_event.author == self._root else adk_event.author[:AUTHOR_LENGTH]
        if author in (self._author, MODEL, "") or not adk_event.content:
            return []
        self._author = author
        if self._text.is_unfinished:  # of the previous agent
            self._text.end_model_call()
        return [events.agent(author)]

    def _translate_whole(self, adk_event: AdkEvent) -> list[Event]:
        if adk_event.content:
            return self._text.whole(adk_event.content) + self._tools(adk_event)
        # Only the output of the root node is the reply. Its path has no "/".
        is_reply = any("/" not in path for path in adk_event.node_info.output_for or ())
        return self._text.output(adk_event.output) if is_reply and adk_event.output is not None else []

    def _tools(self, adk_event: AdkEvent) -> list[Event]:
        calls = [
            events.tool_called(call.id or "", call.name or "", call.args or {})
            for call in adk_event.get_function_calls()
        ]
        return calls + [self._returned(response) for response in adk_event.get_function_responses()]

    def _returned(self, response: types.FunctionResponse) -> Event:
        call_id, name, result = response.id or "", response.name or "", response.response or {}
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
            return failure_codes.failure_of_code(failure_codes.UNNAMED_ERROR)
        if code is None or code in NOT_FAILURES:
            return None
        return failure_codes.failure_of_code(code)


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
