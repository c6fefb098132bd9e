"""Django's sessions in the database, under keys that look like one."""

import re

from django.contrib.sessions.backends import db

KEY = re.compile(r"[a-z0-9]{32}")


class SessionStore(db.SessionStore):
    def _validate_session_key(self, key: str) -> bool:
        """Any other cookie names no session. PostgreSQL refuses to look for one with a NUL in it."""
        return bool(key and KEY.fullmatch(key))
