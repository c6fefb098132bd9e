"""Has a model that raises an exception of its own, after a tool worked."""

from _scripted import call, scripted


def look() -> dict:
    """Looks."""
    return {"seen": "smoke"}


root_agent = scripted([call("look")], ConnectionError("the line is cut"), tools=[look])
