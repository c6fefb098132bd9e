"""Has callbacks that change a tool's arguments and its result, and that answer for a second tool."""

from _scripted import call, scripted


def double(number: int) -> dict:
    """Doubles."""
    return {"value": number * 2}


def forbidden() -> dict:
    """Never runs."""
    return {"ran": True}


def before(tool, args, tool_context):
    if tool.name == "forbidden":
        return {"refused": "not today"}
    args["number"] = args["number"] + 1


def after(tool, args, tool_context, tool_response):
    return {**tool_response, "unit": "kg"}


root_agent = scripted(
    [call("double", number=4), call("forbidden")],
    "Ten kg.",
    tools=[double, forbidden],
    before_tool_callback=before,
    after_tool_callback=after,
)
