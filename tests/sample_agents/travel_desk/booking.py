"""What the agents of the desk do."""

from google.adk.tools import ToolContext


async def book_flight(destination: str, tool_context: ToolContext) -> dict[str, str]:
    """Books a flight.

    Args:
        destination: Where to.
    """
    booked = [*tool_context.state.get("booked", []), destination]
    tool_context.state["booked"] = booked
    return {"ticket": f"{destination}-{len(booked)}"}
