"""Calls a tool that does not exist."""

from _scripted import call, scripted


def known() -> dict:
    """Exists."""
    return {}


root_agent = scripted([call("unknown", word="x")], "I know no such tool.", tools=[known])
