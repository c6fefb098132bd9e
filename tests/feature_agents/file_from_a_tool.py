"""Calls a tool whose result has a picture."""

from _scripted import Part, picture
from google.adk.agents import BaseAgent
from google.adk.events import Event
from google.genai import types


class Camera(BaseAgent):
    async def _run_async_impl(self, ctx):
        def event(role, part):
            content = types.Content(role=role, parts=[part])
            return Event(author=self.name, invocation_id=ctx.invocation_id, content=content)

        blob = types.FunctionResponseBlob(data=picture("WEBP"), mime_type="image/webp")
        yield event("model", Part(function_call=types.FunctionCall(id="c1", name="photograph", args={})))
        yield event(
            "user",
            Part(
                function_response=types.FunctionResponse(
                    id="c1",
                    name="photograph",
                    response={"taken": True},
                    parts=[types.FunctionResponsePart(inline_data=blob)],
                )
            ),
        )
        yield event("model", Part(text="The photograph is taken."))


root_agent = Camera(name="root")
