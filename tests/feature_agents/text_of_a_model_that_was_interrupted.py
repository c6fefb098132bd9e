"""Sends a text that is marked as interrupted."""

from _scripted import response, scripted

root_agent = scripted(response("I was about to say", interrupted=True))
