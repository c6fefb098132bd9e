"""Decides in code which agent runs, and says something itself."""

from _scripted import scripted
from google.adk.agents import BaseAgent
from google.adk.events import Event
from google.genai import types


class Router(BaseAgent):
    async def _run_async_impl(self, ctx):
        asked = ctx.user_content.parts[0].text
        content = types.Content(role="model", parts=[types.Part(text=f"I route {asked}")])
        yield Event(author=self.name, invocation_id=ctx.invocation_id, content=content)
        async for event in self.sub_agents["left" not in asked].run_async(ctx):
            yield event


QUESTIONS = ["left please", "right please"]
left, right = scripted("Turned left.", name="left"), scripted("Turned right.", name="right")
root_agent = Router(name="root", sub_agents=[left, right])
