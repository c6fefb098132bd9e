"""The order in which the events of parallel agents are shown: one model call after the other.

ADK gives each parallel agent a branch, for example ``researchers.wind``, and sends the fragments of all
branches mixed. The branch whose model call shows something first is the active one until that call is
complete. Events of other branches are buffered, and follow in the order in which the branches came. So each
text is shown in one piece, and nothing is taken back because of another agent.
"""

from dataclasses import dataclass, field

from google.adk.events import Event as AdkEvent

from chat.agent.turn.parts import pieces_of

ROOT_BRANCH = ""  # of agents that do not run in parallel


@dataclass(slots=True)
class TurnTaking:
    """Takes ADK's events as they come, and returns them in the order in which they are shown."""

    _active_branch: str | None = None  # its model call is incomplete
    _buffered: dict[str, list[AdkEvent]] = field(default_factory=dict)  # by branch

    def add(self, adk_event: AdkEvent) -> list[AdkEvent]:
        """Return the events to show now, in order."""
        branch = adk_event.branch or ROOT_BRANCH
        shown: list[AdkEvent] = []
        if self._active_branch not in (None, branch) or branch in self._buffered:
            self._buffer(branch, adk_event)
        else:
            shown.append(adk_event)
            self._update_active_branch(branch, adk_event)
        if self._active_branch and _cancels(adk_event, self._active_branch):
            self._active_branch = None
        return shown + self._release()

    def flush(self, *, fragments: bool) -> list[AdkEvent]:
        """Return the buffered events, and start again without an active branch.

        ``fragments`` says whether those of incomplete model calls are among them.
        """
        found = [event for buffer in self._buffered.values() for event in buffer]
        self._active_branch = None
        self._buffered.clear()
        return [event for event in found if fragments or not event.partial]

    def _buffer(self, branch: str, adk_event: AdkEvent) -> None:
        buffer = self._buffered.setdefault(branch, [])
        if not adk_event.partial and adk_event.content:  # it contains all of its fragments
            buffer[:] = [event for event in buffer if not event.partial]
        buffer.append(adk_event)

    def _update_active_branch(self, branch: str, adk_event: AdkEvent) -> None:
        if not adk_event.partial:
            if adk_event.content or adk_event.error_code:
                self._active_branch = None
        elif pieces_of(adk_event.content):
            self._active_branch = branch

    def _release(self) -> list[AdkEvent]:
        """Return the buffered events up to the end of the first branch with an incomplete model call."""
        shown: list[AdkEvent] = []
        while self._active_branch is None and self._buffered:
            branch = next(iter(self._buffered))
            for adk_event in self._buffered.pop(branch):
                shown.append(adk_event)
                self._update_active_branch(branch, adk_event)
        return shown


def _cancels(adk_event: AdkEvent, branch: str) -> bool:
    """Return whether the event cancels the model call of ``branch``.

    An agent that escalates out of a ParallelAgent cancels the other agents in it. The branches there are
    "<name of the ParallelAgent>.<name of the agent>".
    """
    own = adk_event.branch or ROOT_BRANCH
    if not adk_event.actions.escalate or not own.endswith(f".{adk_event.author}"):
        return False
    return branch != own and branch.startswith(own.removesuffix(adk_event.author))
