"""Saves two versions of a file."""

from _scripted import call, scripted
from google.adk.tools import ToolContext
from google.genai import types


async def note(text: str, tool_context: ToolContext) -> dict:
    """Writes a note."""
    part = types.Part(inline_data=types.Blob(data=text.encode(), mime_type="text/plain"))
    return {"version": await tool_context.save_artifact("note.txt", part)}


root_agent = scripted([call("note", text="one")], [call("note", text="two")], "Noted twice.", tools=[note])
