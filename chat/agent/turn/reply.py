"""The agent's written reply as Parley's events: ADK's ``Runner.run_async``, translated as it runs."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing
from dataclasses import KW_ONLY, dataclass, field

from django.conf import settings
from google.adk.agents.run_config import RunConfig, StreamingMode, ToolThreadPoolConfig
from google.adk.runners import Runner
from google.adk.telemetry.context import ContentCapturingMode, TelemetryConfig
from google.genai import types

from chat import events
from chat.agent.memory import model_calls, run_files
from chat.agent.memory.file_parts import question_parts
from chat.agent.memory.payload import branch_of_call
from chat.agent.memory.requests import result_of
from chat.agent.memory.session_service import ConversationSessionService
from chat.agent.turn import approvals, failure_codes
from chat.agent.turn.containment import contained_stream
from chat.agent.turn.translation import EventTranslator
from chat.events import Event
from chat.models import PersonRequest

# Keeps the content of messages out of ADK's spans and log records, in spite of any environment variable.
# One object for all runs: with it, ADK 2.13 does not read seven variables for each fragment (-17 % CPU).
TELEMETRY = TelemetryConfig(capture_message_content=ContentCapturingMode.NO_CONTENT)


@dataclass(slots=True)
class ReplyTranslator(EventTranslator):
    """Translator of one written reply. Read ``events()``, then ``finish``, ``usage`` and ``model``.

    If ``events()`` is cut short, ``flush()`` returns the events that it still buffers.
    """

    runner_of: Callable[[str], Runner]  # raises LookupError
    in_use: Callable[[Runner], AbstractContextManager[None]]  # for as long as the run uses its Runner
    _: KW_ONLY
    streams: bool = True
    abort: asyncio.Event = field(default_factory=asyncio.Event)

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the agent's events as they come. Raises AgentFailure."""
        try:
            runner = self.runner_of(self.session.agent)
        except LookupError as error:
            raise failure_codes.AgentFailure("unavailable", str(error)) from error
        service = runner.session_service
        assert isinstance(service, ConversationSessionService)
        self.begin(runner.agent)
        model_calls.current.set(model_calls.ModelCalls(self.usage))
        run_files.current_files.set(self._files)
        with self.in_use(runner), service.attached(self.session):
            for event in self._decided_calls():
                yield event
            try:
                await approvals.start_nodes()
                for message in await self._messages():
                    stream = runner.run_async(
                        user_id=self.session.user_id,
                        session_id=self.session.conversation_id,
                        new_message=message,
                        run_config=run_config(streams=self.streams),
                        abort_signal=self.abort,
                    )
                    async with aclosing(contained_stream(stream)) as adk_events:
                        async for adk_event in adk_events:
                            for event in await self.add(adk_event):
                                yield event
            except Exception as error:
                is_parleys_agent = self.session.agent == settings.AGENT_NAME
                failure = failure_codes.failure_of_exception(error, is_parleys_agent=is_parleys_agent)
                self._name_failed(failure)
                raise failure from error
        for event in self.flush():
            yield event
        raised = self.failures
        for failure in raised:
            self._name_failed(failure)
        if raised:
            raise raised[0]

    async def _messages(self) -> list[types.Content]:
        """Return the member's question, or the answers to the requests of an earlier run.

        In a workflow they are one message. Otherwise answers to parallel agents are messages of their own:
        ADK gives a message only to the branch of its first call. It goes on with the agents after them when
        all have an answer.
        """
        session = self.session
        if not session.answers:
            said = question_parts(session.prompt, session.prompt_files)
            return [types.Content(role="user", parts=await self._files.filled(said))]
        branches: dict[str, list[types.Part]] = {}
        for request in session.answers:
            result = types.FunctionResponse(**result_of(request))
            branch = "" if self._is_workflow else branch_of_call(session.past, request.asking_call)
            branches.setdefault(branch, []).append(types.Part(function_response=result))
        return [types.Content(role="user", parts=parts) for parts in branches.values()]

    def _decided_calls(self) -> list[Event]:
        """Return the calls that a person has decided: ADK answers them without another event of the call."""
        decided = [each for each in self.session.answers if each.kind == PersonRequest.Kind.CONFIRM]
        for request in decided:
            self._called_at[request.call] = time.monotonic()
            self.used_tools = True
        return [
            events.tool_called(each.call, each.tool, each.args) for each in decided if not each.is_of_node
        ]


def run_config(*, streams: bool) -> RunConfig:
    return RunConfig(
        streaming_mode=StreamingMode.SSE if streams else StreamingMode.NONE,
        max_llm_calls=settings.MODEL_CALLS,
        tool_thread_pool_config=ToolThreadPoolConfig(max_workers=settings.TOOL_THREADS),
        telemetry=TELEMETRY,
    )
