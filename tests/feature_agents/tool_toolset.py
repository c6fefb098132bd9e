"""Takes its tools from a toolset of its own."""

from _scripted import call, scripted
from google.adk.tools import FunctionTool
from google.adk.tools.base_toolset import BaseToolset


def toss() -> dict:
    """Tosses a coin."""
    return {"side": "heads"}


class Games(BaseToolset):
    async def get_tools(self, readonly_context=None):
        return [FunctionTool(toss)]

    async def close(self):
        pass


root_agent = scripted([call("toss")], "Heads.", tools=[Games()])
