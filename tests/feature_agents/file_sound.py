"""Answers with a sound, and no text."""

from _scripted import Part, scripted
from google.genai import types

root_agent = scripted([Part(inline_data=types.Blob(data=b"x" * 48_000, mime_type="audio/wav"))])
