"""Has a plugin of ADK that asks the model to try a failed tool again."""

from _scripted import call, scripted
from google.adk.apps import App
from google.adk.plugins import ReflectAndRetryToolPlugin


def open_door(key: str) -> dict:
    """Opens the door."""
    if key != "brass":
        raise ValueError("the key does not fit")
    return {"door": "open"}


calls = ([call("open_door", key="iron")], [call("open_door", key="brass")])
app = App(
    name="tool_that_is_tried_again",
    root_agent=scripted(*calls, "The door is open.", tools=[open_door]),
    plugins=[ReflectAndRetryToolPlugin(max_retries=2)],
)
