"""Answers with a picture between two texts."""

from _scripted import Part, scripted
from google.genai import types

picture = Part(inline_data=types.Blob(data=b"x" * 3_000, mime_type="image/jpeg", display_name="owl.jpg"))
root_agent = scripted([Part(text="Here is an owl:"), picture, Part(text="Do you like it?")])
