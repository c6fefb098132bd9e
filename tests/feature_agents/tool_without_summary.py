"""Calls a tool whose result is the answer."""

from _scripted import call, scripted
from google.adk.tools import ToolContext


def pay(amount: int, tool_context: ToolContext) -> dict:
    """Pays."""
    tool_context.actions.skip_summarization = True
    return {"paid": amount}


root_agent = scripted([call("pay", amount=5)], "Never said.", tools=[pay])
