"""Calls that this process holds, and the duty that renews and ends them."""

import asyncio
import contextvars
import logging
import uuid
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from chat.calls import keeping
from chat.calls.closing import CallEnd, CallRefused
from chat.calls.keeping import HeldCall
from chat.calls.models import LiveCall
from chat.database import run_db
from chat.instruments import metrics
from chat.live import call as live
from chat.runs.supervisor import supervisor
from chat.socket.call_client import CallClient
from chat.socket.call_counts import CallCounts

log = logging.getLogger(__name__)

RENEW_SECONDS = 1.0  # a third of keeping.CONNECTED_SECONDS
RENEWALS_A_LOOK = 5  # between two looks for calls that any process has lost
LAST_TURN_SECONDS = 10.0  # for the end of a turn, before a new call in its conversation

_held: dict[uuid.UUID, "CallHolder"] = {}


class CallHolder:
    """A call in this process, from its first socket here until it has ended or is another process's."""

    def __init__(self, row: LiveCall) -> None:
        self.row = row
        self.counts = CallCounts(row)
        self.client: CallClient | None = None  # of the open socket
        self._call: live.Call | None = None
        self._opening = asyncio.Lock()
        self._end: CallEnd | None = None
        self._closing: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        return self.client is not None

    async def attach(self, client: CallClient) -> None:
        """Give the call this socket, in place of the one that it has. Raises CallRefused."""
        if self._end:
            raise CallRefused(self._end)
        before, self.client = self.client, client
        if before is not None:
            before.close(CallEnd.TAKEN_OVER)
        self.counts.add_sign()
        async with self._opening:
            if self._call is None:
                self._call = await self._open(client)
                self._spawn(self._run(self._call))
                return
        self._call.attach(client)

    async def _open(self, client: CallClient) -> live.Call:
        try:
            return await live.open_call(self.row.owner, self.row, client)
        except BaseException as error:
            self.client = None
            end = error.end if isinstance(error, CallRefused) else CallEnd.FAILED
            self.finish(end)
            self._forget()
            if isinstance(error, CallRefused) or not isinstance(error, Exception):
                raise
            log.exception("The call %s could not be opened", self.row.pk)
            raise CallRefused(end) from error

    async def leave(self, client: CallClient, *, hung_up: bool) -> None:
        """Take a closed socket from the call, unless it has another one by now."""
        if self.client is not client:
            return
        self.client = None
        if self._end is None:
            # Stored before the turn has ended, so that the member can call again, or resume.
            self._end = CallEnd.HUNG_UP if hung_up else None
            await self._store(self._end)
        if self._call is not None and not self.is_connected:
            self._call.detach(client, hung_up=hung_up)

    def finish(self, end: CallEnd, detail: str = "") -> None:
        """End the call here: its turn as interrupted, and its socket with the code of ``end``."""
        if self._end is None:
            self._end = end
            self._closing = self._spawn(self._close(end, detail))

    async def wait_until_over(self) -> None:
        await self._over.wait()

    def check_limits(self) -> None:
        """End the call if its member's minutes are over, or neither side says anything."""
        left = self.row.seconds_left
        if left is not None and self.counts.seconds > left:
            self.finish(CallEnd.OVER_LIMIT)
        elif self.is_connected and self.counts.idle_seconds > settings.LIVE_IDLE_SECONDS:
            self.finish(CallEnd.IDLE)

    # --- what its socket reads ----------------------------------------------------------------

    def hear(self, pcm: bytes) -> None:
        self.counts.add_sound_in(len(pcm))
        if self._call is not None:
            self._call.hear(pcm)

    def handle(self, frame: Mapping[str, Any]) -> None:
        """Pass on a frame of text, as FrameChecks returns it."""
        call, kind = self._call, frame["type"]
        if call is None:
            return
        if kind in ("text", "start"):
            self.counts.add_sign()
        if kind == "text":
            call.read(frame["text"])
        elif kind == "played":
            call.played(frame["ms"])
        else:
            signs = {"start": call.start, "end": call.end, "mute": call.mute, "stop": call.stop}
            signs[kind]()

    # --- its end ------------------------------------------------------------------------------

    async def _run(self, call: live.Call) -> None:
        try:
            await call.run()
        except Exception:
            log.exception("The call %s failed", self.row.pk)
        self.finish(call.closing or CallEnd.FAILED)
        if self._closing is not None:
            await self._closing
        self._forget()

    async def _close(self, end: CallEnd, detail: str) -> None:
        if self._call is not None:
            self._call.finish(end)
        if end is not CallEnd.TAKEN_OVER:
            await self._store(None if end is CallEnd.RESUMING else end)
        if self.client is not None:
            self.client.close(end, detail)

    async def _store(self, end: CallEnd | None) -> None:
        """Store that the call has ended, or without ``end`` that its socket is lost."""
        try:
            await run_db(_store, self.row.pk, self.counts.held(), end)
        except (DatabaseError, InterfaceError) as error:
            # It is renewed no more, so it counts as lost, and ends with its grace.
            log.warning("The end of call %s could not be stored: %s", self.row.pk, error)

    def _forget(self) -> None:
        if _held.get(self.row.pk) is self:
            del _held[self.row.pk]
            metrics.open_calls_gauge.add(-1)
        self._over.set()

    def _spawn(self, work: Any) -> "asyncio.Task[None]":
        # an empty context: it outlives the request of the socket
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
        return task


_tasks: set["asyncio.Task[None]"] = set()  # the event loop itself has weak references only


async def hold(row: LiveCall) -> CallHolder:
    """Return the holder of an admitted call: the one that has it already, or a new one."""
    while True:
        found = _held.get(row.pk)
        if found is not None and found.row.epoch == row.epoch:
            found.row.seconds_left = row.seconds_left
            return found
        before = [each for each in _held.values() if each.row.conversation_id == row.conversation_id]
        if not before:
            _held[row.pk] = CallHolder(row)
            metrics.open_calls_gauge.add(1)
            return _held[row.pk]
        # A call before it ends its turn, or this one was another process's in between.
        for each in before:
            each.finish(CallEnd.TAKEN_OVER)
        try:
            async with asyncio.timeout(LAST_TURN_SECONDS):
                for each in before:
                    await each.wait_until_over()
        except TimeoutError as error:
            raise CallRefused(CallEnd.UNAVAILABLE) from error


def _store(call: uuid.UUID, held: HeldCall, end: CallEnd | None) -> None:
    keeping.renew_calls({call: held})  # the last counts
    if end is None:
        keeping.mark_lost(call, held.epoch)
    else:
        keeping.end_call(call, held.epoch, end)


# --- the duty -------------------------------------------------------------------------------------


async def keep_calls() -> None:
    """Renew the calls of this process, and end those that are over, for as long as it serves."""
    while True:
        for _ in range(RENEWALS_A_LOOK):
            await asyncio.sleep(RENEW_SECONDS)
            if _held:
                await _keep()
        try:
            await run_db(keeping.end_lost)
        except (DatabaseError, InterfaceError) as error:
            log.warning("Lost calls are not ended: the database did not answer: %s", error)


async def _keep() -> None:
    holders = {holder.row.pk: holder for holder in _held.values()}
    for holder in holders.values():
        holder.check_limits()
    connected = {pk: holder.counts.held() for pk, holder in holders.items() if holder.is_connected}
    epochs = {pk: holder.row.epoch for pk, holder in holders.items()}
    try:
        ends = await run_db(_renew_and_look, connected, epochs)
    except (DatabaseError, InterfaceError) as error:
        log.warning("Calls are not renewed: the database did not answer: %s", error)
        return
    for pk, end in ends.items():
        holders[pk].finish(end)


def _renew_and_look(
    connected: Mapping[uuid.UUID, HeldCall], epochs: Mapping[uuid.UUID, int]
) -> dict[uuid.UUID, CallEnd]:
    keeping.renew_calls(connected)
    return keeping.ends_of(epochs)


def close_calls() -> None:
    """Close the calls that the drain has left. Their members resume them at another process."""
    for holder in list(_held.values()):
        holder.finish(CallEnd.RESUMING)


supervisor.add_duty(keep_calls, on_drained=close_calls)
