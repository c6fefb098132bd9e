"""Gives its model examples."""

from _scripted import Mirror
from google.adk.agents import Agent
from google.adk.examples.example import Example
from google.adk.tools.example_tool import ExampleTool
from google.genai import types

example = Example(
    input=types.Content(role="user", parts=[types.Part(text="2+2")]),
    output=[types.Content(role="model", parts=[types.Part(text="four")])],
)
root_agent = Agent(name="root", model=Mirror(), tools=[ExampleTool([example])])
