"""Has a callback that makes a result of a tool's exception."""

from _scripted import call, scripted


def fragile() -> dict:
    """Breaks."""
    raise ValueError("the shelf is empty")


def forgive(tool, args, tool_context, error):
    return {"forgiven": str(error)}


root_agent = scripted([call("fragile")], "No harm done.", tools=[fragile], on_tool_error_callback=forgive)
