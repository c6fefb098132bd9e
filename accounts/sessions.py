"""Django's database sessions, looked up only by well-formed keys."""

import re

from django.contrib.sessions.backends import db

KEY = re.compile(r"[a-z0-9]{32}")


class SessionStore(db.SessionStore):
    def _validate_session_key(self, key: str) -> bool:
        """Return whether the key is well-formed."""
        # PostgreSQL fails on a query for a key with a NUL.
        return bool(key and KEY.fullmatch(key))
