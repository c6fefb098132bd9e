"""Answers with a picture and nothing else."""

from _scripted import Part, picture, scripted
from google.genai import types

root_agent = scripted([Part(inline_data=types.Blob(data=picture("PNG"), mime_type="image/png"))])
