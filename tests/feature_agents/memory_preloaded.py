"""Has the memory searched before each model call."""

from _scripted import Mirror
from google.adk.agents import Agent
from google.adk.tools.preload_memory_tool import PreloadMemoryTool

root_agent = Agent(name="root", model=Mirror(), tools=[PreloadMemoryTool()])
