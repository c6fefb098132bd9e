"""Answers with 60,000 characters."""

from _scripted import scripted

root_agent = scripted("\n\n".join(f"Paragraph {n} says that {n} squared is {n * n}." for n in range(1, 1200)))
