"""Reaches the model's greatest number of tokens."""

from _scripted import response, scripted
from google.genai import types

root_agent = scripted(response("The list begins with one, two,", finish_reason=types.FinishReason.MAX_TOKENS))
