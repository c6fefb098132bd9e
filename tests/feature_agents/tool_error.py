"""Calls a tool that returns an error, and goes on."""

from _scripted import call, scripted


def divide(left: int, right: int) -> dict:
    """Divides."""
    return {"error": "right is zero", "hint": "give another"} if right == 0 else {"value": left / right}


root_agent = scripted([call("divide", left=1, right=0)], "That cannot be divided.", tools=[divide])
