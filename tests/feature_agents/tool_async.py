"""Calls an async function that waits."""

import asyncio

from _scripted import call, scripted


async def fetch(address: str) -> dict:
    """Fetches."""
    await asyncio.sleep(0.01)
    return {"body": f"page of {address}", "links": ["a", "b"], "size": None}


root_agent = scripted([call("fetch", address="example.org")], "It has two links.", tools=[fetch])
