"""Transfers to a sub-agent, which keeps the next question."""

from _scripted import Part, call, scripted

clerk = scripted("The clerk is speaking.", "The clerk again.", name="clerk", description="Knows forms.")
transfer = call("transfer_to_agent", agent_name="clerk")
QUESTIONS = ["A form, please.", "And another."]
root_agent = scripted([Part(text="One moment."), transfer], name="root", sub_agents=[clerk])
