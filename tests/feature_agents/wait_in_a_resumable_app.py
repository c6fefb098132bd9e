"""Waits for a confirmation in an app that can be resumed."""

from _scripted import call, scripted
from google.adk.apps import App, ResumabilityConfig
from google.adk.tools import FunctionTool


def erase(name: str) -> dict:
    """Erases."""
    return {"erased": name}


eraser = scripted(
    [call("erase", name="old")], "It is gone.", tools=[FunctionTool(erase, require_confirmation=True)]
)
app = App(
    name="wait_in_a_resumable_app",
    root_agent=eraser,
    resumability_config=ResumabilityConfig(is_resumable=True),
)
