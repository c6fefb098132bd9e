"""Who speaks. Agents that work at once send their fragments mixed: here one has the floor at a time.

ADK gives what runs in parallel a branch each, such as ``researchers.wind``; within a branch one
thing comes after the other. The branch whose model call begins to show something has the floor
until that call is whole. What other branches say meanwhile waits; then they follow in the order in
which they came. So a text is readable and its parts lie together, and nothing shown is ever taken
back for another agent's sake.
"""

from dataclasses import dataclass, field

from google.adk.events import Event as AdkEvent

from chat.agent.turn.parts import pieces_of

ROOT = ""  # the branch of what does not run in parallel


@dataclass(slots=True)
class Floor:
    """Takes ADK's events as they come, and gives them in the order in which they are shown."""

    _speaker: str | None = None  # the branch that is in the middle of a model call
    _waiting: dict[str, list[AdkEvent]] = field(default_factory=dict)  # by branch

    def hear(self, adk_event: AdkEvent) -> list[AdkEvent]:
        """What is to be shown now that ``adk_event`` came, in order."""
        branch = adk_event.branch or ROOT
        shown: list[AdkEvent] = []
        if self._speaker not in (None, branch) or branch in self._waiting:
            self._wait(branch, adk_event)
        else:
            shown.append(adk_event)
            self._pass(branch, adk_event)
        if self._speaker and _ends(adk_event, self._speaker):
            self._speaker = None
        return shown + self._next()

    def clear(self) -> list[AdkEvent]:
        """What waits and is whole; the floor is free afterwards."""
        whole = [event for waiting in self._waiting.values() for event in waiting if not event.partial]
        self._speaker = None
        self._waiting.clear()
        return whole

    def _wait(self, branch: str, adk_event: AdkEvent) -> None:
        waiting = self._waiting.setdefault(branch, [])
        if not adk_event.partial and adk_event.content:  # it says all that its fragments said
            waiting[:] = [event for event in waiting if not event.partial]
        waiting.append(adk_event)

    def _pass(self, branch: str, adk_event: AdkEvent) -> None:
        """Give or take the floor, as ``adk_event`` begins or ends a model call."""
        if not adk_event.partial:
            if adk_event.content or adk_event.error_code:
                self._speaker = None
        elif pieces_of(adk_event.content):
            self._speaker = branch

    def _next(self) -> list[AdkEvent]:
        """Let those speak who waited, up to the first who is not finished."""
        shown: list[AdkEvent] = []
        while self._speaker is None and self._waiting:
            branch = next(iter(self._waiting))
            for adk_event in self._waiting.pop(branch):
                shown.append(adk_event)
                self._pass(branch, adk_event)
        return shown


def _ends(adk_event: AdkEvent, branch: str) -> bool:
    """Whether it ends ``branch`` in the middle of a word: who escalates out of a ParallelAgent ends
    the others in it. The branch of one of those is "<the ParallelAgent>.<itself>".
    """
    own = adk_event.branch or ROOT
    if not adk_event.actions.escalate or not own.endswith(f".{adk_event.author}"):
        return False
    return branch != own and branch.startswith(own.removesuffix(adk_event.author))
