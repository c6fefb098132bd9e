"""Pool of rendering processes, which one thread starts, feeds and replaces."""

import atexit
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from chat.rendering import frames

log = logging.getLogger(__name__)

# At most this many workers: for three members with RUNS_PER_MEMBER (5) hostile replies each, and one for the
# rest. The kernel shares the cores between them.
WORKERS = 16
# At most this many idle workers are kept. One does all ordinary work, and its caches stay warm.
KEPT_WORKERS = 3
# A worker that is busy for longer has a large or hostile text: the next one is given to another worker.
HEAD_START_SECONDS = 0.02
# Wall-clock time beyond the budget of CPU time: a busy machine gives a worker a tenth of a core.
GRACE_SECONDS = 5
# KiB. Remembered colours and large texts stay in a worker's memory; forking another one costs 3 ms.
LARGEST_WORKER = 128 * 1024
# The first process imports the parsers first: 0.3 s on an idle machine.
START_SECONDS = 30


class NotRendered(Exception):
    """A text was not rendered. Its argument is a label of ``metrics.renders_given_up``."""


@dataclass(slots=True, eq=False)
class _Job:
    """``future`` is of the CPU seconds that it took in both processes, and its result."""

    budget: float
    name: str
    arguments: tuple[Any, ...]
    is_second_try: bool = False
    future: "Future[tuple[float, Any]]" = field(default_factory=Future)


class _Worker:
    """A process that does one job at a time."""

    def __init__(self, connection: socket.socket, grace: float, forker: "_Forker") -> None:
        self.socket = connection
        self.forker = forker
        self.job: _Job | None = None
        self.began = 0.0
        self.pid = 0  # 0 until its first message
        self.fits = True  # its memory has not grown too large
        self._grace = grace
        self._spent = 0.0  # CPU of this process for the job

    @property
    def is_orphan(self) -> bool:
        """Whether its forker is dead. Such a worker ends before its next job."""
        return self.forker is not _forker

    @property
    def deadline(self) -> float:
        assert self.job is not None
        return self.began + self.job.budget + self._grace

    def begin(self, job: _Job) -> None:
        """Send the job to the process. Raise OSError if it is gone."""
        spent = time.thread_time()
        frames.send_value(self.socket, [job.budget, job.name, *job.arguments])
        self.job, self.began = job, time.monotonic()
        self._spent = time.thread_time() - spent

    def finish(self) -> tuple[float, Any]:
        """Return the CPU seconds and the result of its job. Raise NotRendered."""
        assert self.job is not None
        budget, spent = self.job.budget, time.thread_time()
        try:
            seconds, memory, result, error = frames.receive_value(self.socket)
        except (EOFError, OSError, ValueError):
            # A worker that exceeds its budget of CPU time dies no earlier by the clock.
            self.fits = False
            raise NotRendered("slow" if time.monotonic() - self.began >= budget else "failed") from None
        self.fits = memory < LARGEST_WORKER
        self._grace = GRACE_SECONDS
        if error:
            log.error("The renderer failed:\n%s", error)
            raise NotRendered("failed")
        return seconds + self._spent + time.thread_time() - spent, result


class Pool:
    """Queue of jobs and their workers, first in, first out."""

    def __init__(self) -> None:
        self._jobs: deque[_Job] = deque()
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ)
        threading.Thread(target=self._run, name="render", daemon=True).start()

    def submit(self, name: str, *arguments: Any, budget: float) -> "Future[tuple[float, Any]]":
        """Return the future of a job's CPU seconds and result, or of NotRendered. Thread-safe.

        ``budget`` is the CPU seconds that it may take.
        """
        job = _Job(budget, name, arguments)
        self._jobs.append(job)
        try:
            self._bell.send(b"1")
        except BlockingIOError:
            pass  # the buffer is full: the thread will wake up
        return job.future

    def _run(self) -> None:
        while True:
            try:
                self._turn()
            except Exception:
                log.exception("The pool of renderers failed and starts over.")
                for worker in [*self._busy, *self._idle]:
                    self._discard(worker, NotRendered("failed"))

    def _turn(self) -> None:
        self._assign()
        for key, _events in self._selector.select(self._seconds_until_due()):
            if key.data is None:
                self._ear.recv(4096)
            else:
                self._take_answer(key.data)
        now = time.monotonic()
        for worker in [worker for worker in self._busy if worker.deadline <= now]:
            if worker.pid:
                with suppress(ProcessLookupError):  # it ended in this moment
                    os.kill(worker.pid, signal.SIGKILL)
            self._discard(worker, NotRendered("late"))

    def _seconds_until_due(self) -> float | None:
        due = [worker.deadline for worker in self._busy]
        if self._jobs and len(self._busy) < WORKERS:
            due.append(self._next_start())
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _next_start(self) -> float:
        return max((worker.began for worker in self._busy), default=0.0) + HEAD_START_SECONDS

    def _assign(self) -> None:
        while self._jobs and len(self._busy) < WORKERS and time.monotonic() >= self._next_start():
            job = self._jobs.popleft()
            if job.is_second_try or job.future.set_running_or_notify_cancel():
                try:
                    self._begin(job)
                except OSError as error:  # out of processes, files or memory
                    log.error("No renderer could be started: %s", error)  # noqa: TRY400  (it says all)
                    job.future.set_exception(NotRendered("failed"))

    def _begin(self, job: _Job) -> None:
        """Assign a job to a worker. Raise OSError if none can be started."""
        while self._idle:
            worker = self._idle[-1]
            if worker.is_orphan:
                self._discard(worker)
                continue
            try:
                worker.begin(job)
            except OSError:  # killed while it was idle
                self._discard(worker)
            else:
                self._busy.append(self._idle.pop())
                return
        worker = _Worker(*_fork())
        self._selector.register(worker.socket, selectors.EVENT_READ, worker)
        self._idle.append(worker)
        worker.begin(job)
        self._busy.append(self._idle.pop())

    def _take_answer(self, worker: _Worker) -> None:
        if worker.job is None:
            self._discard(worker)
            return
        job = worker.job
        if not worker.pid:
            self._greet(worker, job)
            return
        try:
            answer = worker.finish()
        except NotRendered as failure:
            self._end_without_answer(worker, job, failure)
            return
        worker.job = None
        self._busy.remove(worker)
        self._idle.append(worker)
        if not worker.fits or worker.is_orphan or len(self._idle) > KEPT_WORKERS:
            self._discard(worker)
        job.future.set_result(answer)

    def _end_without_answer(self, worker: _Worker, job: _Job, failure: NotRendered) -> None:
        """Fail the job, or retry it once: a worker also dies without an answer if its forker died."""
        if worker.forker.process.poll() is not None:
            _give_up(worker.forker)
        if failure.args[0] != "failed" or job.is_second_try:
            self._discard(worker, failure)
            return
        self._discard(worker)
        job.is_second_try = True
        self._jobs.appendleft(job)

    def _greet(self, worker: _Worker, job: _Job) -> None:
        """Receive the pid of a new worker; if it was never forked, retry its job in another one."""
        try:
            worker.pid = int(frames.receive_value(worker.socket))
        except (EOFError, OSError):
            self._discard(worker)
            _give_up(worker.forker)  # it died before it forked
            if job.is_second_try:
                job.future.set_exception(NotRendered("failed"))
            else:
                job.is_second_try = True
                self._jobs.appendleft(job)

    def _discard(self, worker: _Worker, failure: NotRendered | None = None) -> None:
        """Close the worker's socket, which ends an idle process."""
        self._selector.unregister(worker.socket)
        (self._busy if worker in self._busy else self._idle).remove(worker)
        worker.socket.close()
        if worker.job and failure:
            worker.job.future.set_exception(failure)


# --- the process that forks them --------------------------------------------------------------------


@dataclass(slots=True)
class _Forker:
    process: "subprocess.Popen[bytes]"
    door: socket.socket

    def close(self) -> None:
        self.door.close()
        self.process.kill()
        self.process.wait()


_forker: _Forker | None = None


def _fork() -> tuple[socket.socket, float, _Forker]:
    """Return the socket of a new worker, the grace of its first answer in seconds, and its forker.

    Raise OSError.
    """
    global _forker  # noqa: PLW0603  (one a process)
    ours, theirs = socket.socketpair()
    ours.settimeout(GRACE_SECONDS)
    with theirs:
        if _forker is not None:
            try:
                socket.send_fds(_forker.door, [b"1"], [theirs.fileno()])
                return ours, GRACE_SECONDS, _forker
            except OSError as error:
                log.warning("The process that forks renderers is replaced: %s", error)
                _forker.close()
        _forker = _start_forker()
        socket.send_fds(_forker.door, [b"1"], [theirs.fileno()])
    return ours, START_SECONDS, _forker


def _give_up(forker: _Forker) -> None:
    """Replace this forker when the next worker is needed, unless it is replaced already."""
    global _forker  # noqa: PLW0603  (one a process)
    if _forker is forker:
        _forker.close()
        _forker = None


def _start_forker() -> _Forker:
    door, theirs = socket.socketpair()
    words = ["-m", "chat.rendering.worker", str(theirs.fileno()), settings.LANGUAGE_CODE]
    with theirs:
        process = subprocess.Popen(  # noqa: S603  (this Python, and no input of users)
            [sys.executable, *words],
            cwd=settings.BASE_DIR,
            env=settings.PYTHON_ENVIRONMENT,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal could arrive before it ignores SIGINT
        )
    return _Forker(process, door)


@atexit.register
def _close() -> None:
    if _forker is not None:
        _forker.close()
