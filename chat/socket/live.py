"""Socket ``/ws/live/<conversation>/``: a spoken conversation. docs/streaming.md has its frames."""

import asyncio
import json
import logging
import uuid
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest

from chat.access import access_conversation, parse_id
from chat.agent.live import voices
from chat.calls import keeping
from chat.calls.closing import CallEnd, CallRefused
from chat.calls.models import LiveCall
from chat.database import run_db
from chat.refusals import Refusal
from chat.runs.supervisor import supervisor
from chat.sign_ins import SignIn
from chat.socket import auth, held_calls
from chat.socket.call_client import CallClient, error_frame
from chat.socket.call_frames import FrameChecks
from chat.socket.consumer import Receive, Send
from chat.socket.held_calls import CallHolder

log = logging.getLogger(__name__)

HANG_UP_CODES = {1000, 1005}  # of a page that closes the socket on purpose


async def live_socket(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Connect a member's page with a call (ASGI application)."""
    await receive()
    request = auth.opening_request(scope)
    try:
        sign_in, holder, client = await _admit(request, scope["url_route"]["kwargs"]["conversation"])
    except CallRefused as refused:
        await send({"type": "websocket.accept"})
        frame = error_frame(refused.end, refused.detail)
        await send({"type": "websocket.send", "text": json.dumps(frame)})
        code = refused.end.code
    else:

        def end_signed_out() -> None:
            if holder.client is client:
                holder.finish(CallEnd.SIGNED_OUT)

        with sign_in.watched(end_signed_out):
            await send({"type": "websocket.accept", "takes_audio": True})
            code = await _serve(holder, client, receive, send)
    if code:
        await send({"type": "websocket.close", "code": code})


async def _admit(request: HttpRequest, conversation: str) -> tuple[SignIn, CallHolder, CallClient]:
    """Return the sign-in, and the call that has this socket now. Raises CallRefused."""
    if not auth.is_same_origin(request):
        raise CallRefused(CallEnd.SIGNED_OUT)
    if supervisor.draining or supervisor.id is None:
        raise CallRefused(CallEnd.UNAVAILABLE)
    try:
        sign_in, row = await run_db(_sign_in_and_call, request, conversation, supervisor.id)
    except (DatabaseError, InterfaceError) as error:
        log.warning("A call could not be opened: the database did not answer: %s", error)
        raise CallRefused(CallEnd.UNAVAILABLE) from error
    holder = await held_calls.hold(row)
    client = CallClient(holder.counts)
    await holder.attach(client)
    return sign_in, holder, client


def _sign_in_and_call(
    request: HttpRequest, conversation: str, process_id: uuid.UUID
) -> tuple[SignIn, LiveCall]:
    member = auth.signed_in_member(request)
    if member is None:
        raise CallRefused(CallEnd.SIGNED_OUT)
    try:
        found = access_conversation(member, conversation)
    except Refusal as refusal:
        raise CallRefused(CallEnd.NOT_FOUND) from refusal
    try:
        voices.voice_of(found.agent)
    except voices.NoVoice as error:
        raise CallRefused(CallEnd.NO_VOICE, str(error)) from error
    call = parse_id(request.GET.get("call", ""))
    return SignIn(request, member), keeping.admit(member, found.pk, process_id, call=call)


async def _serve(holder: CallHolder, client: CallClient, receive: Receive, send: Send) -> int:
    """Serve the socket until it is closed. Return the close code, 0 if the page has closed it."""
    reading = asyncio.ensure_future(_read(holder, client, receive))
    sending = asyncio.ensure_future(client.run(send))
    try:
        await asyncio.wait([reading, sending], return_when=asyncio.FIRST_COMPLETED)
        if not sending.done() and (left_with := reading.result()) is not None:
            await holder.leave(client, hung_up=left_with in HANG_UP_CODES)
            return 0
        code = await sending  # soon, if a frame was refused
        await holder.leave(client, hung_up=False)
        return code
    finally:
        reading.cancel()
        sending.cancel()


async def _read(holder: CallHolder, client: CallClient, receive: Receive) -> int | None:
    """Pass on what the page sends. Return its close code, or None after a frame that is refused."""
    checks = FrameChecks()
    while (message := await receive())["type"] == "websocket.receive":
        if holder.client is not client:
            continue  # another socket has the call
        try:
            if (pcm := message.get("bytes")) is not None:
                holder.hear(checks.check_audio(pcm))
            else:
                holder.handle(checks.check_text(message["text"]))
        except CallRefused as refused:
            holder.finish(refused.end, refused.detail)
            return None
    return int(message.get("code") or 1006)
