"""Asks the user for input with ADK's own tool."""

from _scripted import call, scripted
from google.adk.tools import request_input

root_agent = scripted([call("adk_request_input", message="Your size?")], "Fine.", tools=[request_input])
