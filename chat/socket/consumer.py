"""The socket ``/ws/``: tells a tab what changed elsewhere, and never how; the tab reads that over HTTP.

An open socket is two tasks, without a thread or a database connection of its own. Channels' consumer
classes would give each one a channel too (in Redis a subscription), and ask the database on one thread
that all of them share.
"""

import asyncio
import json
import logging
import random
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest

from chat import changes, doorbell
from chat.changes import Change
from chat.database import run_db
from chat.runs.supervisor import supervisor
from chat.socket import auth, watching
from chat.socket.watching import Watcher

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# Why a socket is closed: codes that the WebSocket protocol leaves to applications.
NOT_WANTED = 4400  # the client says too much
SIGNED_OUT = 4401  # nobody is signed in, or the page that asks is not ours
TOO_MANY = 4429
UNAVAILABLE = 4503  # no database, or the server ends: come back later

# Nothing is asked of a client. A little is passed over: it may say something to keep a proxy awake.
MESSAGE_MAX = 1024  # characters or bytes
MESSAGES_A_MINUTE = 60

# A sign-out rings. Whatever else ends a session (it expires, the account is deactivated, the password
# changes) is noticed after 30 to 60 s, unevenly, so that a thousand sockets don't ask at once.
CHECK_SECONDS = 30

AFTER = re.compile(r"[0-9]{1,18}", re.ASCII)


class _Refused(Exception):
    """The socket is opened, and closed at once: why it could not be opened, a browser would not tell."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def nowhere(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Every other address: there is one socket."""
    await receive()
    await send({"type": "websocket.close"})


async def tell_changes(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """``/ws/``: tells what changes from now on; with ``?after=<number>`` also what did since then."""
    await receive()
    request = auth.opening_request(scope)
    # Before the session is read: a sign-out meanwhile is heard.
    async with doorbell.listen(auth.bell_of(request)) as signed_out:
        try:
            member, seen = await _admit(request)
        except _Refused as refused:
            await send({"type": "websocket.accept"})
            code = refused.code
        else:
            async with doorbell.listen(changes.bell_of(member)) as bell:
                watcher = Watcher(member, seen, bell)
                code = await _serve(Teller(request, watcher, signed_out, send), receive)
    if code:
        await send({"type": "websocket.close", "code": code})


async def _admit(request: HttpRequest) -> tuple[Any, int]:
    """The member's key, and the number of the change that the page has seen. Raises _Refused."""
    if not auth.is_same_origin(request):
        raise _Refused(SIGNED_OUT)
    if supervisor.draining:
        raise _Refused(UNAVAILABLE)
    try:
        entered = await run_db(_enter, request)
    except (DatabaseError, InterfaceError) as error:
        raise _Refused(UNAVAILABLE) from error
    if entered is None:
        raise _Refused(SIGNED_OUT)
    member, last = entered
    if settings.LIMITS and watching.open_sockets(member) >= settings.SOCKETS_PER_MEMBER:
        raise _Refused(TOO_MANY)
    after = request.GET.get("after")
    if after is None:
        return member, last
    return member, int(after) if AFTER.fullmatch(after) else changes.NOWHERE


def _enter(request: HttpRequest) -> tuple[Any, int] | None:
    member = auth.member_of(request)
    return (member.pk, changes.last_of([member.pk]).get(member.pk, 0)) if member else None


async def _serve(teller: "Teller", receive: Receive) -> int:
    """Tell until the socket should close. Returns the code for that, 0 where the client has gone."""
    with watching.watch(teller.watcher):
        await teller.send({"type": "websocket.accept"})
        tasks = [asyncio.ensure_future(teller.tell()), asyncio.ensure_future(_read_to_the_end(receive))]
        try:
            done, _rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in tasks:
                task.cancel()


async def _read_to_the_end(receive: Receive) -> int:
    """Pass over what the client says. Returns 0 when it has gone, NOT_WANTED where it says too much."""
    clock = asyncio.get_running_loop().time
    minute, said = clock(), 0
    while (message := await receive())["type"] == "websocket.receive":
        if clock() - minute >= 60:
            minute, said = clock(), 0
        said += 1
        if said > MESSAGES_A_MINUTE or len(message.get("text") or message.get("bytes") or "") > MESSAGE_MAX:
            return NOT_WANTED
    return 0


class Teller:
    """What one socket is told."""

    def __init__(self, request: HttpRequest, watcher: Watcher, signed_out: asyncio.Event, send: Send) -> None:
        self.request = request
        self.watcher = watcher
        self.signed_out = signed_out
        self.send = send
        self._begun: set[uuid.UUID] = set()

    async def tell(self) -> int:
        """Tell each change when the bell rings. Returns the code to close with."""
        clock = asyncio.get_running_loop().time
        check_at = clock() + _until_check()
        self.watcher.bell.set()  # what changed since the page was made
        while True:
            await _rung(self.watcher.bell, check_at)
            if self.signed_out.is_set():
                return SIGNED_OUT
            if self.watcher.closing:
                return UNAVAILABLE
            try:
                if clock() >= check_at:
                    if not await run_db(auth.member_of, self.request):
                        return SIGNED_OUT
                    check_at = clock() + _until_check()
                await self._tell_news()
            except (DatabaseError, InterfaceError) as error:
                # The look for lost bells rings again, and the check comes with it.
                log.warning("A socket is told nothing: the database did not answer: %s", error)

    async def _tell_news(self) -> None:
        last, news = await run_db(changes.since, self.watcher.member, self.watcher.seen)
        for change in news:
            for type_ in self._types(change):
                await self.send({"type": "websocket.send", "text": _frame(type_, change)})
        self.watcher.seen = last

    def _types(self, change: Change) -> Iterator[str]:
        """The change's own; before a run's end comes its beginning, also where both came at once."""
        if change.run and change.type == changes.RUN_ENDED and change.run not in self._begun:
            yield changes.RUN
        yield change.type
        if change.run:
            (self._begun.add if change.type == changes.RUN else self._begun.discard)(change.run)


def _frame(type_: str, change: Change) -> str:
    frame = {"type": type_, "conversation": change.conversation and str(change.conversation)}
    if change.run:
        frame["run"] = str(change.run)
    return json.dumps(frame)


def _until_check() -> float:
    return CHECK_SECONDS * (1 + random.random())  # noqa: S311  (to be uneven, not secret)


async def _rung(bell: asyncio.Event, deadline: float) -> None:
    """Wait for the bell, until ``deadline`` of the loop's clock at most."""
    try:
        async with asyncio.timeout_at(deadline):
            await bell.wait()
    except TimeoutError:
        pass  # time to check the session
    bell.clear()
