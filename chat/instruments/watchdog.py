"""Thread that logs which code blocks the event loop.

An agent's `async` tool that blocks (`requests`, `time.sleep`) delays all members. The loop itself cannot
report it meanwhile; another thread can read its stack.
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
BEATS_IN_MEAN = 4  # of the loop's lateness
LATE_SECONDS = 1.0
PAUSED_SECONDS = 0.5  # a shorter delay of this thread means that others have the CPU
REPEAT_SECONDS = 10.0  # between two log lines about one stall
FRAMES_LOGGED = 30  # the innermost of the stack
NO_AGENT = "none"  # label of a stall without an agent


class Work(Protocol):
    """Work of a frame: a run of an agent."""

    @property
    def agent(self) -> str: ...
    @property
    def run(self) -> str: ...


class Watchdog:
    """Watchdog of one event loop.

    ``work_of`` returns the agent and the run for which a frame drives a task, if any. It costs four callbacks
    of the loop and four wake-ups of a thread a second.
    """

    def __init__(self, work_of: Callable[[FrameType], Work | None]) -> None:
        self._work_of = work_of
        self.beat_at = 0.0  # time.monotonic() when the loop last ran a callback
        self._next: asyncio.TimerHandle | None = None
        self._late = 0.0  # seconds; the mean of the last beats
        self._ended = threading.Event()

    def start(self) -> None:
        """Watch the running loop. Does nothing if it is watched already."""
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
        now = time.monotonic()
        if self._next is not None:
            self._late += (max(0.0, now - self.beat_at - BEAT_SECONDS) - self._late) / BEATS_IN_MEAN
            metrics.loop_late_milliseconds.value = round(self._late * 1000)
        self.beat_at = now
        self._next = loop.call_later(BEAT_SECONDS, self._beat, loop)


class Lateness:
    """Lateness of the loop, measured by a thread that wakes each BEAT_SECONDS. All times in seconds."""

    def __init__(self, now: float, cpu: float) -> None:
        self._now, self._cpu = now, cpu
        self._beat_at = now
        self._paused = 0.0  # time since the beat in which the whole process was paused

    def at(self, now: float, cpu: float, beat_at: float) -> float:
        """Return the lateness at ``now``; ``cpu`` is the process's CPU time, ``beat_at`` the last beat."""
        # A suspended or overloaded machine delays this thread, too. So does code that keeps the GIL, but that
        # uses the CPU.
        paused = (now - self._now - BEAT_SECONDS) - (cpu - self._cpu)
        self._now, self._cpu = now, cpu
        if beat_at != self._beat_at:
            self._beat_at, self._paused = beat_at, 0.0
        if paused > PAUSED_SECONDS:
            self._paused += paused
        return now - beat_at - BEAT_SECONDS - self._paused


class _Watch:
    """Work of the thread, which logs and counts the current stall."""

    def __init__(self, dog: Watchdog, thread: int, ended: threading.Event) -> None:
        self._dog = dog
        self._thread = thread  # id of the loop's thread
        self._ended = ended
        self._logged: float | None = None  # lateness of this stall when it was last logged
        self._counted = 0.0  # seconds of this stall that are in the metrics
        self._agent = ""

    def run(self) -> None:
        lateness = Lateness(time.monotonic(), time.process_time())
        while not self._ended.wait(BEAT_SECONDS):
            self._check(lateness.at(time.monotonic(), time.process_time(), self._dog.beat_at))

    def _check(self, late: float) -> None:
        if late <= LATE_SECONDS:
            self._logged, self._counted = None, 0.0
            return
        if self._logged is None or late >= self._logged + REPEAT_SECONDS:
            stack = list(_frames_of(sys._current_frames().get(self._thread)))
            # In the selector, the loop waits for events: the machine delays it, not the code.
            if not stack or stack[0].f_code.co_filename == selectors.__file__:
                return
            self._log(stack, late)
        metrics.loop_stalled_seconds.add(late - self._counted, self._agent or NO_AGENT)
        self._counted = late

    def _log(self, stack: list[FrameType], late: float) -> None:
        own = next((frame for frame in stack if _owner(frame) is Owner.AGENT), None)
        work = next(filter(None, map(self._dog._work_of, stack)), None)
        agent = (agent_of(own.f_code.co_filename) if own else "") or (work.agent if work else "")
        found = own or next((frame for frame in stack if _owner(frame) is not Owner.LIBRARY), stack[0])
        if self._logged is None:
            metrics.loop_stalls.count(agent or NO_AGENT)
        self._logged, self._agent = late, agent
        log.warning(
            "%s has blocked the event loop, and all members, for %.1f s at %s%s",
            f"Agent {agent!r}" if agent else "Code of no agent",
            late,
            f"{short_path(found.f_code.co_filename)}:{found.f_lineno} in {found.f_code.co_name}",
            "" if own else " (no code of an agent is on the stack)",
            extra={
                "fields": {
                    "agent": agent,
                    "run": work.run if work else "",
                    "exception": "".join(traceback.format_stack(stack[0])[-FRAMES_LOGGED:]).rstrip(),
                }
            },
        )


def _frames_of(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of a running stack, the innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _owner(frame: FrameType) -> Owner:
    return owner_of(frame.f_code.co_filename)
