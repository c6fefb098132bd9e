"""Makes two calls in one step that both wait for the user."""

from _scripted import call, scripted
from google.adk.tools import FunctionTool, LongRunningFunctionTool


def transfer(amount: int) -> dict:
    """Transfers money."""
    return {"sent": amount}


def print_book(pages: int) -> None:
    """Prints, which takes days."""


QUESTIONS = ["Both.", "And now?"]
tools = [FunctionTool(transfer, require_confirmation=True), LongRunningFunctionTool(print_book)]
root_agent = scripted([call("transfer", amount=5), call("print_book", pages=3)], "I wait.", tools=tools)
