"""Calls a tool that raises. ADK ends the turn there; Parley gives the model an error result."""

from _scripted import call, scripted


def fragile() -> dict:
    """Breaks."""
    raise ValueError("the shelf is empty")


root_agent = scripted([call("fragile")], "The shelf is empty.", tools=[fragile])
