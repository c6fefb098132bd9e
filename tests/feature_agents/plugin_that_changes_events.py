"""Has a plugin that changes each whole event on its way out."""

from _scripted import scripted
from google.adk.apps import App
from google.adk.plugins import BasePlugin


class Stamp(BasePlugin):
    async def on_event_callback(self, *, invocation_context, event):
        if event.content and not event.partial and event.author != "user":
            event.content.parts[0].text += " (stamped)"
            return event


app = App(name="plugin_that_changes_events", root_agent=scripted("A letter."), plugins=[Stamp(name="stamp")])
