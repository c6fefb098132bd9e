"""Answers with a picture and nothing else."""

from _scripted import Part, scripted
from google.genai import types

root_agent = scripted([Part(inline_data=types.Blob(data=b"x" * 12_000, mime_type="image/png"))])
