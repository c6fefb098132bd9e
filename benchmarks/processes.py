"""Child processes of the benchmark: their cores, CPU time, memory and end."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
END_SECONDS = 10  # between SIGTERM and SIGKILL
LINE_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores for the measured process and for model and load; one shared core if there is only one."""

    measured: frozenset[int]
    others: frozenset[int]

    @classmethod
    def here(cls) -> "Cores":
        cores = sorted(os.sched_getaffinity(0))
        return cls(frozenset(cores[:1]), frozenset(cores[1:2] or cores))

    @property
    def apart(self) -> bool:
        return self.measured != self.others

    def leave_measured_core(self) -> None:
        """Move this process, and the children that it will start, to the other cores."""
        os.sched_setaffinity(0, self.others)

    @contextmanager
    def for_measured(self) -> Iterator[None]:
        """Run children started in this context on the measured core: a child inherits the affinity."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.measured)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Program:
    """A Python, and the checkout whose code it runs."""

    python: Path = Path(sys.executable)
    root: Path = ROOT


OWN = Program()


class Process:
    """Child process with a minimal environment. Its stderr is appended to ``log``."""

    def __init__(self, command: list[str], log: Path, program: Program = OWN, /, **env: str) -> None:
        self._command = command
        self._log = log
        self._program = program
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/tmp"),  # noqa: S108  (nothing is written there)
            "PYTHONPATH": str(program.root),
            **env,
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> "Process":
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(self._program.python),
                *self._command,
                cwd=self._program.root,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                limit=LINE_MAX_BYTES,
                start_new_session=True,  # Ctrl-C reaches only the benchmark, which stops its children
            )
        return self

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def check_alive(self) -> None:
        """Raise RuntimeError, with the end of its log, if the process has ended."""
        assert self._process
        if self._process.returncode is not None:
            tail = self._log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(self._command)} ended with {self._process.returncode}:\n{tail}")

    async def line(self) -> str:
        """Return the next line of its stdout."""
        assert self._process
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            await self._process.wait()
            self.check_alive()
        return line.decode()

    async def request(self, line: str) -> str:
        """Write a line to its stdin, and return the next line of its stdout."""
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()
        return await self.line()

    def cpu_seconds(self) -> float:
        """Return user and system time of the process and its descendants so far, including ended threads."""
        return sum(_cpu_seconds_of(pid) for pid in _with_descendants(self.pid))

    def resident_bytes(self) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"process {self.pid} has no memory")


def _with_descendants(pid: int) -> Iterator[int]:
    """Yield the process and those that it started, such as Parley's renderers."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            for child in children.read_text().split():
                yield from _with_descendants(int(child))


def _cpu_seconds_of(pid: int) -> float:
    """Return the time of one process, and of its children that have ended; 0 if it has just ended itself."""
    try:
        # The kernel's clock has nanoseconds; the file has steps of 10 ms, more than one turn takes.
        ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
        return time.clock_gettime(_cpu_clock_of(pid)) + sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


@cache
def _cpu_clock_of(pid: int) -> int:
    clock = ctypes.c_int()
    failed = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))  # POSIX
    if failed:
        raise OSError(failed, f"process {pid} has no CPU clock")
    return clock.value
