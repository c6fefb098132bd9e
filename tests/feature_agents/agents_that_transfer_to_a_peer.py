"""Transfers from one sub-agent to its peer."""

from _scripted import Part, call, scripted


def to(name, text):
    return [Part(text=text), call("transfer_to_agent", agent_name=name)]


first = scripted(to("second", "I know who knows."), name="first", description="Is asked first.")
second = scripted("I do know.", name="second", description="Is asked second.")
root_agent = scripted(to("first", "Let me see."), sub_agents=[first, second])
