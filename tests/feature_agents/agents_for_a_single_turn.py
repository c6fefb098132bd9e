"""Delegates one turn to an agent, whose answer comes back as a result."""

from _scripted import call, scripted

expert = scripted(
    "Silver melts at 962 degrees.", name="expert", mode="single_turn", description="Knows metals."
)
root_agent = scripted([call("expert", request="Silver?")], "At 962 degrees.", sub_agents=[expert])
