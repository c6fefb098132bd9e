"""Transfers to a sub-agent, which transfers back to its parent."""

from _scripted import Part, call, scripted

back = [Part(text="Not my desk."), call("transfer_to_agent", agent_name="root")]
clerk = scripted(back, name="clerk", description="Knows forms.")
there = [call("transfer_to_agent", agent_name="clerk")]
root_agent = scripted(there, "Then I answer myself.", name="root", sub_agents=[clerk])
