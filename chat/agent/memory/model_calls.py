"""The counts of a run: model calls and their tokens, also of agents that ADK runs apart from its events."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from google.adk.agents.invocation_context import InvocationContext
from google.adk.events import Event
from google.adk.plugins import BasePlugin
from google.genai import types

from chat.events import Usage


@dataclass(slots=True)
class ModelCalls:
    """The usage of a run so far, and the counter by which ADK enforces MODEL_CALLS."""

    usage: Usage
    counter: Any = None  # of the run's own invocation

    def add(self, event: Event) -> None:
        """Count an event of an agent. The last fragment has the same figures as the whole event."""
        if event.partial or event.author == "user":
            return
        self.usage.calls += event.content is not None and event.content.role == "model"
        add_tokens(self.usage, event.usage_metadata)

    def add_summary(self, event: Event) -> None:
        """Count the model call of a summary, which ADK neither yields nor counts."""
        if event.usage_metadata is None:  # of an author's own summarizer, which may call no model
            return
        self.usage.calls += 1
        add_tokens(self.usage, event.usage_metadata)
        if self.counter is not None:
            self.counter._number_of_llm_calls += 1


# Set for the tasks of a run. An AgentTool's own Runner has another session, but works in the same context.
current: ContextVar[ModelCalls | None] = ContextVar("model_calls", default=None)


def add_tokens(usage: Usage, reported: types.GenerateContentResponseUsageMetadata | None) -> None:
    if reported is None:
        return
    usage.input += reported.prompt_token_count or 0
    usage.output += reported.candidates_token_count or 0
    usage.thought += reported.thoughts_token_count or 0
    usage.cached += reported.cached_content_token_count or 0
    usage.total += reported.total_token_count or 0


class CountedCalls(BasePlugin):
    """Counts the events of a run and of its AgentTools, and lets MODEL_CALLS bound them together."""

    async def before_run_callback(self, *, invocation_context: InvocationContext) -> None:
        calls = current.get()
        if calls is None:
            return
        # ADK 2.13 gives an AgentTool's invocation a counter of its own, which starts at zero.
        if calls.counter is None:
            calls.counter = invocation_context._invocation_cost_manager
        invocation_context._invocation_cost_manager = calls.counter

    async def on_event_callback(self, *, invocation_context: InvocationContext, event: Event) -> None:
        calls = current.get()
        # The connection of a call counts its model's answers itself, each for its turn.
        if calls and invocation_context.live_request_queue is None:
            calls.add(event)
