"""Thinks again after its first text."""

from _scripted import Part, call, scripted


def look() -> dict:
    """Looks."""
    return {"seen": "rain"}


first = [Part(text="I should look.", thought=True), Part(text="I look outside."), call("look")]
second = [Part(text="Rain, so an umbrella.", thought=True), Part(text="Take an umbrella.")]
root_agent = scripted(first, second, tools=[look])
