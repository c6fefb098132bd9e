"""Says something before, between and after two calls of a tool."""

from _scripted import Part, call, scripted


def step(number: int) -> dict:
    """Takes a step."""
    return {"taken": number}


root_agent = scripted(
    [Part(text="I begin."), call("step", number=1)],
    [Part(text="Half way."), call("step", number=2)],
    "I have arrived.",
    tools=[step],
)
