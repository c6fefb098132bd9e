"""The time limits of one run: each model call's first token, silence, and the whole run.

Tools are not limited here, see ``tool_limits``.
"""

import asyncio
from contextvars import ContextVar

from django.conf import settings

from chat.agent.turn.turn_taking import ROOT_BRANCH


class RunDeadline:
    """Time at which a run has made no progress for too long, and the code of a run that misses it.

    Each branch of parallel agents has its own limit, and no limit while one of its tools works. The run is
    late when all of them are: a silent agent does not end the run while another one works.
    """

    def __init__(self, *, streams: bool) -> None:
        self.passed = asyncio.Event()
        self.code = ""
        self._loop = asyncio.get_running_loop()
        # Without streaming, a model is silent until its whole answer is complete.
        self._silence = settings.SILENCE_SECONDS if streams else settings.RUN_SECONDS
        self._end = self._loop.time() + settings.RUN_SECONDS
        self._limits: dict[str, tuple[float, str]] = {}  # time and code, by branch
        self._tools: dict[str, int] = {}  # the number of tools that work, by branch; none is 0
        self._timer = self._loop.call_at(self._end, self._check)
        self.model_called(None)

    def model_called(self, branch: str | None) -> None:
        self._set(branch, settings.FIRST_TOKEN_SECONDS, "timeout_first")

    def advanced(self, branch: str | None) -> None:
        """Record an event of the branch, a fragment of a call's arguments for example."""
        self._set(branch, self._silence, "stalled")

    def tool_began(self, branch: str | None) -> None:
        name = branch or ROOT_BRANCH
        self._tools[name] = self._tools.get(name, 0) + 1

    def tool_ended(self, branch: str | None) -> None:
        name = branch or ROOT_BRANCH
        self._tools[name] -= 1
        if not self._tools[name]:
            del self._tools[name]
        self.advanced(branch)

    def close(self) -> None:
        self._timer.cancel()

    def _set(self, branch: str | None, seconds: float, code: str) -> None:
        name = branch or ROOT_BRANCH
        # A branch continues only after the branches inside it have ended.
        for inner in [each for each in self._limits if name == ROOT_BRANCH or each.startswith(f"{name}.")]:
            del self._limits[inner]
        self._limits[name] = self._loop.time() + seconds, code
        # A later deadline keeps its timer, which then starts a new one: an event must not cost a timer.
        if self._due()[0] < self._timer.when():
            self._timer.cancel()
            self._check()

    def _due(self) -> tuple[float, str]:
        end = self._end, "timeout_run"
        return end if self._tools else min(max(self._limits.values()), end)

    def _check(self) -> None:
        when, self.code = self._due()
        if self._loop.time() >= when:
            self.passed.set()
        else:
            self._timer = self._loop.call_at(when, self._check)


# None outside a run, and inside a tool: the model calls of an AgentTool have only the tool's limit.
run_deadline: ContextVar[RunDeadline | None] = ContextVar("run_deadline", default=None)
