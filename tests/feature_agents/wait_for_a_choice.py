"""Lets the user choose."""

from _scripted import call, scripted
from google.adk.tools import get_user_choice

root_agent = scripted([call("get_user_choice", options=["tea", "coffee"])], "Fine.", tools=[get_user_choice])
