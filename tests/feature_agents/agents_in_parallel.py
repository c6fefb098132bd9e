"""Asks three agents at the same time, and then a fourth."""

from _scripted import Part, call, scripted
from google.adk.agents import ParallelAgent, SequentialAgent


def measure(where: str) -> dict:
    """Measures."""
    return {"wind": len(where)}


north = scripted("Wind from the north.", name="north")
south = scripted(
    [Part(text="I measure."), call("measure", where="south")],
    "Calm in the south.",
    name="south",
    tools=[measure],
)
west = scripted([Part(text="Hm, clouds.", thought=True), Part(text="Rain in the west.")], name="west")
judge = scripted("Stay at home.", name="judge")
stations = ParallelAgent(name="stations", sub_agents=[north, south, west])
root_agent = SequentialAgent(name="root", sub_agents=[stations, judge])
