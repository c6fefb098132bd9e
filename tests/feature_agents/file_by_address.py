"""Answers with the address of a file."""

from _scripted import Part, scripted
from google.genai import types

video = types.FileData(file_uri="https://files.example/owl.mp4", mime_type="video/mp4")
root_agent = scripted([Part(text="Watch this."), Part(file_data=video)])
