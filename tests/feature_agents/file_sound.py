"""Answers with a sound, and no text."""

from _scripted import Part, scripted, sound
from google.genai import types

root_agent = scripted([Part(inline_data=types.Blob(data=sound(), mime_type="audio/wav"))])
