"""Has a model that stops for a reason of safety, without a text."""

from _scripted import response, scripted
from google.genai import types

root_agent = scripted(response(finish_reason=types.FinishReason.SAFETY))
