"""Answers completely, with a finish reason that this version does not know."""

from _scripted import response, scripted
from google.genai import types

root_agent = scripted(response("A complete answer.", finish_reason=types.FinishReason.OTHER))
