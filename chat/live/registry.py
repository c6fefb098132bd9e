"""The calls that this process holds."""

import asyncio
import uuid
from typing import TYPE_CHECKING

from chat.runs.supervisor import supervisor

if TYPE_CHECKING:
    from chat.live.call import Call

_calls: "dict[uuid.UUID, Call]" = {}  # by conversation


def call_of(conversation: uuid.UUID) -> "Call | None":
    """Return the call of this process in the conversation."""
    return _calls.get(conversation)


def calls() -> "list[Call]":
    """Return all calls of this process."""
    return list(_calls.values())


def register_call(call: "Call") -> None:
    _calls[call.row.conversation_id] = call


def unregister_call(call: "Call") -> None:
    if _calls.get(call.row.conversation_id) is call:
        del _calls[call.row.conversation_id]


async def _drain() -> None:
    """Give up the calls: those between two turns now, others at the end of their turn."""
    leaving = calls()
    for call in leaving:
        call.drain()
    await asyncio.gather(*(call.run() for call in leaving))


supervisor.before_drain(_drain)
