"""The triggers of the audit, dropped for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from chat.moderation.migrations import _audit_guard


@contextmanager
def without_guards() -> Iterator[None]:
    """Drop the triggers, as someone with the rights of the database's owner can."""
    with connection.schema_editor() as editor:
        _audit_guard.drop(None, editor)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            _audit_guard.create(None, editor)
