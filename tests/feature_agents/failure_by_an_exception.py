"""Raises in a callback."""

from _scripted import scripted


def broken(callback_context):
    raise LookupError("the register is missing")


root_agent = scripted("Never said.", before_agent_callback=broken)
