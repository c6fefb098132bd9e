"""Calls a tool that returns a picture, and one that returns a picture beside a text."""

from datetime import date

from _scripted import Part, call, picture, scripted
from google.genai import types


def photograph():
    """Takes a photograph."""
    return types.Part(inline_data=types.Blob(data=picture("WEBP"), mime_type="image/webp"))


def describe():
    """Takes a photograph and describes it."""
    return {
        "says": "an owl",
        "on": date(2026, 1, 2),
        "picture": Part(inline_data=types.Blob(data=picture("GIF"), mime_type="image/gif")),
    }


root_agent = scripted([call("photograph")], [call("describe")], "It is an owl.", tools=[photograph, describe])
