"""Writes session, user, app and temporary state, and reads it in the next turn."""

from _scripted import call, scripted
from google.adk.tools import ToolContext


def remember(tool_context: ToolContext) -> dict:
    """Remembers."""
    for key in ("plain", "user:mine", "app:ours", "temp:now"):
        tool_context.state[key] = {"count": tool_context.state.get(key, {"count": 0})["count"] + 1}
    return {
        "seen": {key: tool_context.state.get(key) for key in ("plain", "user:mine", "app:ours", "temp:now")}
    }


QUESTIONS = ["Remember.", "Again."]
root_agent = scripted([call("remember")], "Done.", [call("remember")], "Done again.", tools=[remember])
