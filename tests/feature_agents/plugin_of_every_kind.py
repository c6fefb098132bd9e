"""Has a plugin with a method for each stage, which writes a line each time."""

from _scripted import call, scripted
from google.adk.apps import App
from google.adk.plugins import BasePlugin
from google.genai import types


def look() -> dict:
    """Looks."""
    return {"seen": "an owl"}


class Lines(BasePlugin):
    def __init__(self):
        super().__init__(name="lines")
        self.lines = []

    async def on_user_message_callback(self, *, invocation_context, user_message):
        self.lines = ["message"]

    async def before_run_callback(self, *, invocation_context):
        self.lines.append("run")

    async def before_agent_callback(self, *, agent, callback_context):
        self.lines.append("agent")

    async def before_model_callback(self, *, callback_context, llm_request):
        self.lines.append("model")

    async def before_tool_callback(self, *, tool, tool_args, tool_context):
        self.lines.append("tool")

    async def after_tool_callback(self, *, tool, tool_args, tool_context, result):
        return {**result, "lines": list(self.lines)}

    async def after_agent_callback(self, *, agent, callback_context):
        text = " then ".join(self.lines)
        return types.Content(role="model", parts=[types.Part(text=f"Stages: {text}.")])


app = App(
    name="plugin_of_every_kind",
    root_agent=scripted([call("look")], "An owl.", tools=[look]),
    plugins=[Lines()],
)
