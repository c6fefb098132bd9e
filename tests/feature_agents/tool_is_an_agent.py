"""Calls another agent as a tool."""

from _scripted import call, scripted
from google.adk.tools import AgentTool

expert = scripted("Gold melts at 1064 degrees.", name="expert", description="Knows metals.")
ask = call("expert", request="When does gold melt?")
root_agent = scripted([ask], "The expert says 1064 degrees.", tools=[AgentTool(expert)])
