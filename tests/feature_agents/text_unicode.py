"""Answers in scripts of several directions, with emoji, combining marks and control characters."""

from _scripted import scripted

QUESTIONS = ["Grüße? 🌍"]
root_agent = scripted("Zażółć gęślą jaźń. مرحبا بالعالم. 日本語の文章。 नमस्ते 👩‍👩‍👧‍👦 e\u0301 \u200f ok.")
