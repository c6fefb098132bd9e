"""Chainlit with an ADK handler."""
