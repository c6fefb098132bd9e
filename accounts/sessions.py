"""Django's database sessions, looked up only by well-formed keys."""

import re

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.dispatch import Signal
from django.utils import timezone

from accounts.statements import Statement

KEY = re.compile(r"[a-z0-9]{32}")


_stored = Statement(lambda key, now: Session.objects.filter(session_key=key, expire_date__gt=now))


session_ended = Signal()  # of no particular one: receivers look which they have


class SessionStore(db.SessionStore):
    def _validate_session_key(self, key: str) -> bool:
        """Return whether the key is well-formed."""
        # PostgreSQL fails on a query for a key with a NUL.
        return bool(key and KEY.fullmatch(key))

    def delete(self, session_key: str | None = None) -> None:
        super().delete(session_key)
        session_ended.send(type(self))

    def _get_session_from_db(self) -> Session | None:
        found = _stored.first(self.session_key, timezone.now())
        if found is None:
            self._session_key = None
        return found
