"""Makes three calls in one step, one of which is slow, and then a fourth."""

import asyncio

from _scripted import call, scripted


async def look_up(word: str, seconds: float = 0) -> dict:
    """Looks up."""
    await asyncio.sleep(seconds)
    return {"found": word.upper()}


calls = [call("look_up", word="slow", seconds=0.05), call("look_up", word="b"), call("look_up", word="c")]
root_agent = scripted(calls, [call("look_up", word="d")], "All four are found.", tools=[look_up])
