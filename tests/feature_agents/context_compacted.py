"""Compacts its history after every second turn."""

from _scripted import Mirror, Scripted
from google.adk.agents import Agent
from google.adk.apps import App
from google.adk.apps.app import EventsCompactionConfig
from google.adk.apps.llm_event_summarizer import LlmEventSummarizer

summarizer = LlmEventSummarizer(llm=Scripted(script=["They counted to two."]))
QUESTIONS = ["One?", "Two?", "Three?"]
app = App(
    name="context_compacted",
    root_agent=Agent(name="root", model=Mirror()),
    events_compaction_config=EventsCompactionConfig(
        summarizer=summarizer, compaction_interval=2, overlap_size=0
    ),
)
