"""Calls a tool without an argument that it needs."""

from _scripted import call, scripted


def greet(name: str) -> dict:
    """Greets."""
    return {"greeting": f"Hello {name}"}


root_agent = scripted([call("greet")], [call("greet", name="Ada")], "Greeted.", tools=[greet])
