"""Calls tools that return a text, a number, a list, nothing, a model and bytes."""

from _scripted import call, scripted
from pydantic import BaseModel


class Place(BaseModel):
    name: str


def text() -> str:
    """Returns a text."""
    return "plain words"


def number() -> float:
    """Returns a number."""
    return 2.5


def several() -> list[str]:
    """Returns a list."""
    return ["one", "two"]


def nothing() -> None:
    """Returns nothing."""


def place() -> dict:
    """Returns a model inside a dict."""
    return {"place": Place(name="Tromso").model_dump()}


tools = [text, number, several, nothing, place]
root_agent = scripted([call(tool.__name__) for tool in tools], "Five came back.", tools=tools)
