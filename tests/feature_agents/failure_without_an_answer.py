"""Has a model that answers with nothing."""

from _scripted import response, scripted

root_agent = scripted(response())
