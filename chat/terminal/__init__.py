"""The chat in a terminal: it calls the same actions as the page, and reads runs with the same ``follow``."""
