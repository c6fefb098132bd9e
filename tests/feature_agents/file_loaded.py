"""Saves a file in one turn, and lists and reads it in the next."""

from _scripted import call, scripted
from google.adk.tools import ToolContext
from google.genai import types


async def keep(text: str, tool_context: ToolContext) -> dict:
    """Keeps a text."""
    part = types.Part(inline_data=types.Blob(data=text.encode(), mime_type="text/plain"))
    return {"version": await tool_context.save_artifact("user:kept.txt", part)}


async def read(tool_context: ToolContext) -> dict:
    """Reads the text."""
    part = await tool_context.load_artifact("user:kept.txt")
    return {"names": await tool_context.list_artifacts(), "text": part.inline_data.data.decode()}


QUESTIONS = ["Keep it.", "What was it?"]
root_agent = scripted(
    [call("keep", text="a secret word")], "Kept.", [call("read")], "It was a secret word.", tools=[keep, read]
)
