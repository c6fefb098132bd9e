"""Calls a tool that returns 20,000 characters."""

from _scripted import call, scripted


def read() -> dict:
    """Reads a book."""
    return {"chapters": [{"number": n, "text": f"Chapter {n}. " + "word " * 150} for n in range(25)]}


root_agent = scripted([call("read")], "It has 25 chapters.", tools=[read])
