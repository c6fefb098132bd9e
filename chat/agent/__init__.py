"""The agents. The only code that imports google.adk and google.genai."""
