"""Agents, their turns and what ADK remembers: the only code that imports google.adk and google.genai."""
