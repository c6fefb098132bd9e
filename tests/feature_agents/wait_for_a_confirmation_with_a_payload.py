"""Calls a tool that asks for a confirmation while it runs, with a hint and a payload."""

from _scripted import call, scripted
from google.adk.tools import ToolContext


def book(days: int, tool_context: ToolContext) -> dict:
    """Books."""
    if not tool_context.tool_confirmation:
        tool_context.request_confirmation(hint="Is it for so long?", payload={"days": days})
        return {"status": "asked"}
    return {"booked": tool_context.tool_confirmation.payload}


root_agent = scripted([call("book", days=30)], "I have asked.", tools=[book])
