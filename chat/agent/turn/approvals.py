"""The point of no return of an approved call: it is stored before its tool is entered."""

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from chat.models import PersonRequest


@dataclass(frozen=True, slots=True)
class Approvals:
    """Decided confirmations by the id of the tool's call. ``start`` stores that an approved one begins.

    ``start`` raises if the run is no longer this process's: the tool must not be entered then.
    """

    requests: dict[str, PersonRequest]
    start: Callable[[PersonRequest], Awaitable[None]]

    @classmethod
    def of(
        cls, answers: Sequence[PersonRequest], start: Callable[[PersonRequest], Awaitable[None]]
    ) -> "Approvals":
        confirmations = [each for each in answers if each.kind == PersonRequest.Kind.CONFIRM]
        return cls({request.call: request for request in confirmations}, start)


async def start_nodes() -> None:
    """Store that approved nodes of a workflow begin: ADK has no callback before one."""
    approved = current_approvals.get()
    if approved is None:
        return
    for request in approved.requests.values():
        if request.is_of_node and request.decision == PersonRequest.Decision.APPROVE:
            await approved.start(request)


# Set for the task of a run.
current_approvals: ContextVar[Approvals | None] = ContextVar("approvals", default=None)
