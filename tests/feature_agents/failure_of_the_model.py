"""Has a model that reports an error."""

from _scripted import response, scripted

root_agent = scripted(response(error_code="RESOURCE_EXHAUSTED", error_message="Try again tomorrow."))
