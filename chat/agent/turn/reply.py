"""The agent's answer as our events: Runner.run_async in, deltas, thoughts and tools out.

ADK says everything twice: fragments (``partial``) as they come, then the whole. The fragments are
shown; the whole is what counts, so it is compared with what was shown. Tools, usage and errors
are taken from whole events alone.

Of several agents at once one speaks at a time (chat/agent/turn/turn_taking.py).
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

USER, MODEL = "user", "model"  # ADK's authors that are no agents
AUTHOR_LENGTH = 128  # Message.agent
MAX_TOKENS = "MAX_TOKENS"
# Error codes and finish reasons that are no failure of the model's; the first one is an abort's.
USUAL = {"INVOCATION_ABORTED", "STOP", MAX_TOKENS, "FINISH_REASON_UNSPECIFIED"}

# Reused: without it ADK reads seven environment variables for each fragment (-17 % CPU).
# Whatever the environment says, no span and no record of ADK's holds what members and models say.
TELEMETRY = TelemetryConfig(capture_message_content=ContentCapturingMode.NO_CONTENT)


@dataclass(slots=True)
class Reply:
    """One answer. Read ``events()`` to its end, then ``flush()``, ``finish`` and ``usage``.

    ``acted``: a tool was called that may have had an effect. ``waiting``: the ids of calls that wait
    for a person.
    """

    turn: SessionData
    runner_of: Callable[[str], Runner]  # raises LookupError
    streams: bool = True
    abort: asyncio.Event = field(default_factory=asyncio.Event)
    finish: str = "stop"
    usage: Usage = field(default_factory=Usage)
    acted: bool = False
    waiting: set[str] = field(default_factory=set)
    _turn_taking: TurnTaking = field(default_factory=TurnTaking)
    _root: str = ""  # the name of the app's own agent, as ADK knows it
    _text: ReplyText = field(default_factory=ReplyText)
    _author: str = ""
    _called: dict[str, float] = field(default_factory=dict)  # when each tool was called, and
    _elapsed: dict[str, int] = field(default_factory=dict)  # the milliseconds it took
    _failures: dict[str, failure_codes.AgentFailure] = field(default_factory=dict)  # the last word, by branch

    async def events(self) -> AsyncGenerator[Event, None]:
        """The agent's events as they come. Raises AgentFailure."""
        try:
            runner = self.runner_of(self.turn.agent)
        except LookupError as error:
            raise failure_codes.AgentFailure("unavailable", str(error)) from error
        service = runner.session_service
        assert isinstance(service, ConversationSessionService)
        self._root, self._author = runner.agent.name, self.turn.agent
        with service.attached(self.turn):
            try:
                stream = runner.run_async(
                    user_id=self.turn.user_id,
                    session_id=self.turn.conversation_id,
                    new_message=types.Content(role="user", parts=[types.Part(text=self.turn.prompt)]),
                    run_config=run_config(streams=self.streams),
                    abort_signal=self.abort,
                )
                async with aclosing(contained_stream(stream)) as adk_events:
                    async for adk_event in adk_events:
                        self._note(adk_event)
                        for event in self._translated(self._turn_taking.take(adk_event)):
                            yield event
            except Exception as error:
                is_own = self.turn.agent == settings.AGENT_NAME
                raise failure_codes.failure_of_exception(error, is_own=is_own) from error
        for event in self.flush():
            yield event
        is_answered = self.acted or self.waiting or self._text.says_something
        for failure in self._failures.values():
            if failure.code != "empty" or not is_answered:
                raise failure

    def flush(self) -> list[Event]:
        """What agents had said in full while another one was still speaking, when the end came.
        They are in the session: the model will know it, so the person shall.
        """
        return self._translated(self._turn_taking.flush())

    def _note(self, adk_event: AdkEvent) -> None:
        """Count tokens, times, calls and failures when they happen, also where they are shown later."""
        if adk_event.partial or adk_event.author == USER:
            return
        self._count(adk_event)
        for call in adk_event.get_function_calls():
            self._called[call.id or ""] = time.monotonic()
            self.acted = self.acted or call.name not in events.ADK_TOOLS
            if call.id and call.id in (adk_event.long_running_tool_ids or ()):
                self.waiting.add(call.id)
        for answer in adk_event.get_function_responses():
            called = self._called.pop(answer.id or "", time.monotonic())
            self._elapsed[answer.id or ""] = round((time.monotonic() - called) * 1000)
            self.waiting.discard(answer.id or "")
        self._judge(adk_event)

    def _judge(self, adk_event: AdkEvent) -> None:
        """Keep the last word of each branch: content after a failure (a retry, say) makes up for it,
        and so does content of what comes after parallel branches.
        """
        branch = adk_event.branch or ROOT_BRANCH
        if failure := self._failure_of(adk_event):
            self._failures[branch] = failure
        elif adk_event.content or adk_event.output is not None:
            for failed in list(self._failures):
                if branch in (ROOT_BRANCH, failed) or failed.startswith(f"{branch}."):
                    del self._failures[failed]

    def _translated(self, adk_events: Iterable[AdkEvent]) -> list[Event]:
        return [event for adk_event in adk_events for event in self._translate(adk_event)]

    def _translate(self, adk_event: AdkEvent) -> list[Event]:
        if adk_event.author == USER:
            return []
        found = self._new_author(adk_event)
        if adk_event.partial:
            return found + self._fragment(adk_event)
        return found + self._whole(adk_event) + _files(adk_event)

    def _count(self, adk_event: AdkEvent) -> None:
        """Usage stands on the last fragment too: whole events alone are counted."""
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
        author = self.turn.agent if adk_event.author == self._root else adk_event.author[:AUTHOR_LENGTH]
        if author in (self._author, MODEL, "") or not adk_event.content:
            return []
        self._author = author
        if self._text.is_unfinished:  # what another one was saying was never finished
            self._text.end_call()
        return [events.agent(author)]

    def _fragment(self, adk_event: AdkEvent) -> list[Event]:
        return self._text.fragment(adk_event.content)

    def _whole(self, adk_event: AdkEvent) -> list[Event]:
        if adk_event.content:
            return self._text.whole(adk_event.content) + self._tools(adk_event)
        # Without content: state, errors, aborts, where what was shown stays open. And outputs of
        # workflow nodes; that of the root, whose path has no "/", is the reply.
        is_reply = any("/" not in path for path in adk_event.node_info.output_for or ())
        return self._text.output(adk_event.output) if is_reply and adk_event.output is not None else []

    def _tools(self, adk_event: AdkEvent) -> list[Event]:
        calls = [
            events.tool_called(call.id or "", call.name or "", call.args or {})
            for call in adk_event.get_function_calls()
        ]
        return calls + [self._returned(answer) for answer in adk_event.get_function_responses()]

    def _returned(self, answer: types.FunctionResponse) -> Event:
        elapsed = self._elapsed.pop(answer.id or "", 0)
        name, result = answer.name or "", answer.response or {}
        if set(result) == {"error"}:
            return events.tool_returned(answer.id or "", name, error=str(result["error"]), elapsed_ms=elapsed)
        return events.tool_returned(answer.id or "", name, result=result, elapsed_ms=elapsed)

    def _failure_of(self, adk_event: AdkEvent) -> failure_codes.AgentFailure | None:
        """What the event says of the answer's end. Without streaming, ADK puts the reason why a
        text breaks off into ``finish_reason`` alone.
        """
        reason = adk_event.finish_reason and adk_event.finish_reason.value
        if reason:
            self.finish = "max_tokens" if reason == MAX_TOKENS else "stop"
        code = adk_event.error_code or reason
        if code is None and adk_event.error_message:
            return failure_codes.failure_of_code(failure_codes.UNNAMED_ERROR)
        if code is None or code in USUAL:
            return None
        return failure_codes.failure_of_code(code)


def _files(adk_event: AdkEvent) -> list[Event]:
    """The artifacts that a tool, a callback or a code executor saved."""
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
