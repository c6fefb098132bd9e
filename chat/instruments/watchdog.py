"""A thread that notices when something holds up the event loop, and tells which code it is.

An agent's `async` tool that blocks (`requests`, `time.sleep`) holds up all members. The loop cannot tell of
it meanwhile; another thread can read its stack.
"""

import asyncio
import logging
import selectors
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

from chat.instruments import metrics
from chat.instruments.stack import Owner, agent_of, owner_of, short_path

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.25
LATE_SECONDS = 1.0
STOPPED_SECONDS = 0.5  # below it a thread is late because others have the CPU
AGAIN_SECONDS = 10.0  # between two lines about one stall
FRAMES_TOLD = 30  # of the stack, the innermost
NO_AGENT = "none"  # the label where the loop was held up by no agent


class Work(Protocol):
    """What a frame works for."""

    @property
    def agent(self) -> str: ...
    @property
    def run(self) -> str: ...


class Watchdog:
    """One a loop. ``work_of`` says for which agent and run a frame drives a task, if it does.

    Costs four callbacks of the loop and four wake-ups of a thread a second.
    """

    def __init__(self, work_of: Callable[[FrameType], Work | None]) -> None:
        self._work_of = work_of
        self.beat_at = 0.0  # time.monotonic() at which the loop was last seen to run
        self._next: asyncio.TimerHandle | None = None
        self._ended = threading.Event()

    def start(self) -> None:
        """Watch the running loop. Does nothing where it is watched already."""
        if self._next is None:
            self._ended = threading.Event()
            self._beat(asyncio.get_running_loop())
            watch = _Watch(self, threading.get_ident(), self._ended)
            threading.Thread(target=watch.run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self.beat_at = time.monotonic()
        self._next = loop.call_later(BEAT_SECONDS, self._beat, loop)


class Lateness:
    """How late the loop is, as a thread sees it that wakes each BEAT_SECONDS. All times in seconds."""

    def __init__(self, now: float, cpu: float) -> None:
        self._now, self._cpu = now, cpu
        self._beat_at = now
        self._forgiven = 0.0  # since the beat: the whole process was held up

    def at(self, now: float, cpu: float, beat_at: float) -> float:
        """Return the lateness at ``now``; ``cpu`` is the process's CPU time, ``beat_at`` the last beat."""
        # A machine that was suspended, or had no time for us, held up this thread as well. So does code
        # that keeps the GIL, but it uses the CPU.
        stopped = (now - self._now - BEAT_SECONDS) - (cpu - self._cpu)
        self._now, self._cpu = now, cpu
        if beat_at != self._beat_at:
            self._beat_at, self._forgiven = beat_at, 0.0
        if stopped > STOPPED_SECONDS:
            self._forgiven += stopped
        return now - beat_at - BEAT_SECONDS - self._forgiven


class _Watch:
    """The thread's side: what has been told of a stall."""

    def __init__(self, dog: Watchdog, thread: int, ended: threading.Event) -> None:
        self._dog = dog
        self._thread = thread  # the loop's
        self._ended = ended
        self._told: float | None = None  # the lateness of this stall when it was last told
        self._counted = 0.0
        self._agent = ""

    def run(self) -> None:
        lateness = Lateness(time.monotonic(), time.process_time())
        while not self._ended.wait(BEAT_SECONDS):
            self._look(lateness.at(time.monotonic(), time.process_time(), self._dog.beat_at))

    def _look(self, late: float) -> None:
        if late <= LATE_SECONDS:
            self._told, self._counted = None, 0.0
            return
        if self._told is None or late >= self._told + AGAIN_SECONDS:
            stack = list(_outward(sys._current_frames().get(self._thread)))
            if not stack or _is_idle(stack):
                return
            self._tell(stack, late)
        metrics.loop_stalled_seconds.add(late - self._counted, self._agent or NO_AGENT)
        self._counted = late

    def _tell(self, stack: list[FrameType], late: float) -> None:
        own = next((frame for frame in stack if _owner(frame) is Owner.AGENT), None)
        work = next(filter(None, map(self._dog._work_of, stack)), None)
        agent = (agent_of(own.f_code.co_filename) if own else "") or (work.agent if work else "")
        found = own or next((frame for frame in stack if _owner(frame) is not Owner.LIBRARY), stack[0])
        if self._told is None:
            metrics.loop_stalls.count(agent or NO_AGENT)
        self._told, self._agent = late, agent
        log.warning(
            "%s has held up the event loop, and all members, for %.1f s at %s%s",
            f"Agent {agent!r}" if agent else "Code of no agent",
            late,
            _place(found),
            "" if own else " (no code of an agent's own is on the stack)",
            extra={
                "fields": {
                    "agent": agent,
                    "run": work.run if work else "",
                    "exception": "".join(traceback.format_stack(stack[0])[-FRAMES_TOLD:]).rstrip(),
                }
            },
        )


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of a running stack, the innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_idle(stack: list[FrameType]) -> bool:
    """Return whether the loop waits for events: it is late because the machine is, not by any code."""
    return stack[0].f_code.co_filename == selectors.__file__


def _owner(frame: FrameType) -> Owner:
    return owner_of(frame.f_code.co_filename)


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{short_path(code.co_filename)}:{frame.f_lineno} in {code.co_name}"
