"""Has a model that is blocked after some text."""

from _scripted import response, scripted
from google.genai import types

root_agent = scripted(
    [
        response("I may say this,", partial=True),
        response(
            error_code="SAFETY",
            error_message="The rest was blocked.",
            finish_reason=types.FinishReason.SAFETY,
        ),
    ]
)
