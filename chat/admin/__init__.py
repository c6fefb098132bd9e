"""Django's admin for moderators: conversations, runs and processes are read there, never changed."""

from chat.admin import calls, conversations, runs, suggestions  # noqa: F401  (imported to be registered)
