"""Sends events without content before and after its text."""

from google.adk.agents import BaseAgent
from google.adk.events import Event, EventActions
from google.genai import types


class Quiet(BaseAgent):
    async def _run_async_impl(self, ctx):
        def event(**fields):
            return Event(author=self.name, invocation_id=ctx.invocation_id, **fields)

        yield event()
        yield event(actions=EventActions(state_delta={"step": 1}))
        yield event(content=types.Content(role="model", parts=[types.Part(text="Only this is said.")]))
        yield event(content=types.Content(role="model", parts=[]))


root_agent = Quiet(name="root")
