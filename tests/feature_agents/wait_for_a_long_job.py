"""Starts a job whose result comes some other day."""

from _scripted import call, scripted
from google.adk.tools import LongRunningFunctionTool


def print_book(pages: int) -> None:
    """Prints, which takes days."""


root_agent = scripted(
    [call("print_book", pages=300)], "Printed.", tools=[LongRunningFunctionTool(print_book)]
)
