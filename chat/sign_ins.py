"""Sign-ins of open streams and sockets. They outlive the request that was allowed to open them.

One task of a process looks at all of them together: none queries the database by itself.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from django.contrib.sessions.models import Session
from django.db import DatabaseError, InterfaceError
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import User
from accounts.sessions import session_ended
from accounts.statements import Statement
from chat import doorbell
from chat.database import run_db

log = logging.getLogger(__name__)

T = TypeVar("T")

# Between two looks; the end of a sign-in session by this site is also rung for. Ten seconds are promised
# (docs/streaming.md).
CHECK_SECONDS = 4.0
CHECKED_AT_ONCE = 500  # by one statement, which takes some ms
BELL = "sign-in sessions"


class SignIn:
    """The sign-in of one open stream or socket: a session, and its member's secrets at that time."""

    __slots__ = ("_on_end", "_secret", "has_ended", "member", "session")

    def __init__(self, request: HttpRequest, member: User) -> None:
        """``request`` has a sign-in session of ``member``."""
        assert request.session.session_key
        self.session = request.session.session_key
        self.member = member.pk
        # a hash of the stored hash and the epoch: no stream needs to keep them
        self._secret = hash((member.password, member.sign_in_epoch or 0))
        self.has_ended = False
        self._on_end: Callable[[], None] | None = None

    @contextmanager
    def watched(self, on_end: Callable[[], None]) -> Iterator[None]:
        """Inside the block, set ``has_ended`` and call ``on_end`` on the event loop when the sign-in ends.

        It ends with its session, with a change of the password, and with a deactivation of the account.
        """
        self._on_end = on_end
        _watched.add(self)
        try:
            yield
        finally:
            _watched.discard(self)
            self._on_end = None

    def has_secret(self, hashed: int | None) -> bool:
        return self._secret == hashed

    def end(self) -> None:
        self.has_ended = True
        if self._on_end:
            self._on_end()


_watched: set[SignIn] = set()


@receiver(session_ended)
def _ring(**_kwargs: Any) -> None:
    doorbell.ring_soon([BELL])


async def watch() -> None:
    """End the sign-ins that are over, for as long as this process serves."""
    rung = asyncio.Event()
    with doorbell.listen(BELL, rung.set):
        while True:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await rung.wait()
            except TimeoutError:
                pass  # time to look
            rung.clear()
            try:
                await _check()
            except (DatabaseError, InterfaceError) as error:
                log.warning("Sign-ins could not be checked: the database did not answer: %s", error)


async def _check() -> None:
    found = list(_watched)
    for start in range(0, len(found), CHECKED_AT_ONCE):
        some = found[start : start + CHECKED_AT_ONCE]
        valid = await run_db(_valid, some)
        for sign_in in some:
            if sign_in not in valid:
                sign_in.end()


def _valid(sign_ins: Sequence[SignIn]) -> set[SignIn]:
    sessions = {key for (key,) in _sessions.all(_padded({each.session for each in sign_ins}), timezone.now())}
    secrets = {
        pk: hash((password, epoch or 0))
        for pk, password, epoch in _secrets.all(_padded({each.member for each in sign_ins}))
    }
    return {
        each for each in sign_ins if each.session in sessions and each.has_secret(secrets.get(each.member))
    }


def _padded(values: set[T]) -> list[T]:
    """Return the values, the last one repeated up to a power of two: each length is another statement."""
    found = list(values)
    return found + found[-1:] * ((1 << (len(found) - 1).bit_length()) - len(found))


_sessions = Statement(
    lambda keys, now: Session.objects.filter(session_key__in=keys, expire_date__gt=now).values_list(
        "session_key"
    )
)
_secrets = Statement(
    lambda ids: User.objects.filter(pk__in=ids, is_active=True).values_list("pk", "password", "sign_in_epoch")
)
