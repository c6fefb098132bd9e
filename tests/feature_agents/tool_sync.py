"""Calls a plain function."""

from _scripted import Part, call, scripted


def add(left: int, right: int) -> dict:
    """Adds."""
    return {"sum": left + right}


root_agent = scripted([Part(text="I add."), call("add", left=2, right=40)], "It is 42.", tools=[add])
