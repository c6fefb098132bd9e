"""Answers with a picture between two texts."""

from _scripted import Part, picture, scripted
from google.genai import types

owl = Part(inline_data=types.Blob(data=picture("JPEG"), mime_type="image/jpeg", display_name="owl.jpg"))
root_agent = scripted([Part(text="Here is an owl:"), owl, Part(text="Do you like it?")])
