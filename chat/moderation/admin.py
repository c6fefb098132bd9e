"""Registers the users and groups in the admin."""

from chat.moderation import members  # noqa: F401  (imported to be registered)
