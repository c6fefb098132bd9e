"""Starts a job that gives its status immediately."""

from _scripted import call, scripted
from google.adk.tools import LongRunningFunctionTool


def order(what: str) -> dict:
    """Orders."""
    return {"status": "pending", "ticket": 17}


root_agent = scripted(
    [call("order", what="ink")], "Ticket 17 is pending.", tools=[LongRunningFunctionTool(order)]
)
