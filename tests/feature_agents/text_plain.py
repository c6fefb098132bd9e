"""Answers in two turns."""

from _scripted import scripted

QUESTIONS = ["Hello?", "And then?"]
root_agent = scripted("First, water boils.", "Then the tea is made.")
