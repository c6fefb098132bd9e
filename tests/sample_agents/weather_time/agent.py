"""One agent with synchronous tools, as `adk create` lays it out."""

from google.adk.agents import Agent

from weather_time import tools

root_agent = Agent(
    name="root_agent",
    model="gemini-2.5-flash",
    description="Tells the weather in a city.",
    instruction="Answer questions about the weather with your tools.",
    tools=[tools.get_weather, tools.measure],
)
