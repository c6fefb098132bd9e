"""Socket ``/ws/``: names the objects that changed elsewhere; the tab reads their content over HTTP.

An open socket is two tasks, without a thread or a database connection of its own. Channels' consumer classes
would need a channel for each socket (in Redis a subscription), and query the database on one shared thread.
"""

import asyncio
import json
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest

from chat import changes, doorbell
from chat.changes import Change
from chat.database import run_db
from chat.runs.supervisor import supervisor
from chat.sign_ins import SignIn
from chat.socket import auth, watching
from chat.socket.watching import OpenSocket

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# Close codes, from the range that the WebSocket protocol leaves to applications.
NOT_WANTED = 4400  # too many messages from the client, or a message that is too long
SIGNED_OUT = 4401  # no member is signed in, or a page of another site opened the socket
TOO_MANY = 4429
TRY_AGAIN_LATER = 4503  # no database, or the server shuts down

# Clients need to send nothing. A few messages are ignored: a client may send them to keep a proxy awake.
MESSAGE_MAX = 1024  # characters or bytes
MESSAGES_A_MINUTE = 60

AFTER = re.compile(r"[0-9]{1,18}", re.ASCII)


class _Refused(Exception):
    """The socket is accepted, then closed with ``code``: browsers hide why a handshake failed."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def reject(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Reject a socket at any other path (ASGI application)."""
    await receive()
    await send({"type": "websocket.close"})


async def changes_socket(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Send the changes from now on; with ``?after=<number>`` also the earlier ones (ASGI application)."""
    await receive()
    request = auth.opening_request(scope)
    bell = asyncio.Event()
    try:
        sign_in, seen = await _admit(request)
    except _Refused as refused:
        await send({"type": "websocket.accept"})
        code = refused.code
    else:
        with doorbell.listen(changes.bell_name(sign_in.member), bell.set), sign_in.watched(bell.set):
            socket = OpenSocket(sign_in.member, seen, bell)
            code = await _serve(ChangeSender(socket, sign_in, send), receive)
    if code:
        await send({"type": "websocket.close", "code": code})


async def _admit(request: HttpRequest) -> tuple[SignIn, int]:
    """Return the sign-in and the last change that the page has seen. Raises _Refused."""
    if not auth.is_same_origin(request):
        raise _Refused(SIGNED_OUT)
    if supervisor.draining:
        raise _Refused(TRY_AGAIN_LATER)
    try:
        sign_in, last = await run_db(_sign_in_and_last_change, request)
    except (DatabaseError, InterfaceError) as error:
        raise _Refused(TRY_AGAIN_LATER) from error
    if settings.LIMITS and watching.open_sockets(sign_in.member) >= settings.SOCKETS_PER_MEMBER:
        raise _Refused(TOO_MANY)
    after = request.GET.get("after")
    if after is None:
        return sign_in, last
    return sign_in, int(after) if AFTER.fullmatch(after) else changes.UNKNOWN_NUMBER


def _sign_in_and_last_change(request: HttpRequest) -> tuple[SignIn, int]:
    member = auth.signed_in_member(request)
    if member is None:
        raise _Refused(SIGNED_OUT)
    return SignIn(request, member), changes.last_of([member.pk]).get(member.pk, 0)


async def _serve(sender: "ChangeSender", receive: Receive) -> int:
    """Send changes until the socket should close. Return the close code, 0 if the client has gone."""
    with watching.registered(sender.socket):
        await sender.send({"type": "websocket.accept"})
        tasks = [asyncio.ensure_future(sender.run()), asyncio.ensure_future(_ignore_messages(receive))]
        try:
            done, _rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in tasks:
                task.cancel()


async def _ignore_messages(receive: Receive) -> int:
    """Ignore messages of the client. Return 0 when it has gone, NOT_WANTED if it sends too much."""
    clock = asyncio.get_running_loop().time
    minute, count = clock(), 0
    while (message := await receive())["type"] == "websocket.receive":
        if clock() - minute >= 60:
            minute, count = clock(), 0
        count += 1
        if count > MESSAGES_A_MINUTE or len(message.get("text") or message.get("bytes") or "") > MESSAGE_MAX:
            return NOT_WANTED
    return 0


@dataclass(eq=False, slots=True)
class ChangeSender:
    """Sender of a member's changes over one socket."""

    socket: OpenSocket
    sign_in: SignIn
    send: Send
    _begun: set[uuid.UUID] = field(default_factory=set)  # active runs whose beginning was sent

    async def run(self) -> int:
        """Send the changes at each ring of the bell. Return the close code."""
        self.socket.bell.set()  # begin with the changes since the page was made
        while True:
            await self.socket.bell.wait()
            self.socket.bell.clear()
            if self.sign_in.has_ended:
                return SIGNED_OUT
            if self.socket.closing:
                return TRY_AGAIN_LATER
            try:
                await self._send_changes()
            except (DatabaseError, InterfaceError) as error:
                # The poll for lost rings wakes this loop again.
                log.warning("A socket receives no changes: the database did not answer: %s", error)

    async def _send_changes(self) -> None:
        last, found = await run_db(changes.since, self.socket.member_id, self.socket.seen)
        for change in found:
            for type_ in self._types(change):
                await self.send({"type": "websocket.send", "text": _frame(type_, change)})
        self.socket.seen = last

    def _types(self, change: Change) -> Iterator[str]:
        """Yield the types of the frames for a change."""
        # The ledger names a run only once. If it has begun and ended since the last query, its beginning is
        # sent before its end.
        if change.run and change.type == changes.RUN_ENDED and change.run not in self._begun:
            yield changes.RUN_BEGUN
        yield change.type
        if change.run:
            (self._begun.add if change.type == changes.RUN_BEGUN else self._begun.discard)(change.run)


def _frame(type_: str, change: Change) -> str:
    frame = {"type": type_, "conversation": change.conversation and str(change.conversation)}
    if change.run:
        frame["run"] = str(change.run)
    return json.dumps(frame)
