"""Streams the arguments of a call in pieces."""

from _scripted import Part, call, response, scripted
from google.genai import types


def write(text: str) -> dict:
    """Writes."""
    return {"written": len(text)}


def piece(text, more):
    args = [types.PartialArg(json_path="$.text", string_value=text, will_continue=more)]
    return Part(function_call=types.FunctionCall(id="w", name="write", partial_args=args, will_continue=more))


pieces = [response(piece(text, text != "stone."), partial=True) for text in ("Set in ", "stone.")]
root_agent = scripted(
    [*pieces, response(call("write", text="Set in stone."))], "It is written.", tools=[write]
)
