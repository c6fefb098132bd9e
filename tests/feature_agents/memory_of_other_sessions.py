"""Searches the memory, in which nothing is stored."""

from _scripted import call, scripted
from google.adk.tools import load_memory

root_agent = scripted([call("load_memory", query="tea")], "I remember nothing.", tools=[load_memory])
