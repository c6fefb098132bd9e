"""Calls a tool that a user must confirm."""

from _scripted import Part, call, scripted
from google.adk.tools import FunctionTool


def transfer(amount: int) -> dict:
    """Transfers money."""
    return {"sent": amount}


QUESTIONS = ["Send 5.", "Never mind. Hello?"]
root_agent = scripted(
    [Part(text="I send it."), call("transfer", amount=5)],
    "Hello.",
    tools=[FunctionTool(transfer, require_confirmation=True)],
)
