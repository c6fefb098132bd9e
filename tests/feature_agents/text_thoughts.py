"""Thinks before each of two texts."""

from _scripted import Part, scripted


def thought(text):
    return Part(text=text, thought=True)


root_agent = scripted([thought("Which city? Oslo."), Part(text="Oslo is the capital.")])
