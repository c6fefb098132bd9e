"""Has a sub-agent in a sequence whose tool must be confirmed."""

from _scripted import call, scripted
from google.adk.agents import SequentialAgent
from google.adk.tools import FunctionTool


def transfer(amount: int) -> dict:
    """Transfers money."""
    return {"sent": amount}


clerk = scripted(
    [call("transfer", amount=5)],
    "Sent.",
    name="clerk",
    tools=[FunctionTool(transfer, require_confirmation=True)],
)
root_agent = SequentialAgent(name="root", sub_agents=[clerk, scripted("All done.", name="closer")])
