"""Processes: on which core they run, what they have used, and that none of them is left behind."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
END_SECONDS = 10  # what a process gets to end by itself
LINE_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cores:
    """The measured process has a core to itself where there are two; model and load share the other."""

    measured: frozenset[int]
    others: frozenset[int]

    @classmethod
    def here(cls) -> "Cores":
        cores = sorted(os.sched_getaffinity(0))
        return cls(frozenset(cores[:1]), frozenset(cores[1:2] or cores))

    @property
    def apart(self) -> bool:
        return self.measured != self.others

    def keep_away(self) -> None:
        """From here on this process, and what it starts, leaves the measured core alone."""
        os.sched_setaffinity(0, self.others)

    @contextmanager
    def for_measured(self) -> Iterator[None]:
        """What is started within runs on the measured core: a child takes over its parent's."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.measured)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


class Process:
    """A child on loopback with a bare environment. What it says on stderr is kept in ``log``."""

    def __init__(self, command: list[str], log: Path, **env: str) -> None:
        self._command = command
        self._log = log
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/tmp"),  # noqa: S108  (nothing is written there)
            "PYTHONPATH": str(ROOT),
            **env,
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> "Process":
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._command,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                limit=LINE_MAX_BYTES,
                start_new_session=True,  # Ctrl-C is for the benchmark, which ends the others in order
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
        """Raises RuntimeError, with its last words, where the process has ended."""
        assert self._process
        if self._process.returncode is not None:
            said = self._log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(self._command)} ended with {self._process.returncode}:\n{said}")

    async def line(self) -> str:
        """The next line that it writes."""
        assert self._process
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            await self._process.wait()
            self.check_alive()
        return line.decode()

    async def tell(self, line: str) -> str:
        """The line that it answers to this one."""
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()
        return await self.line()

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far, ended ones too, to the nanosecond.

        The kernel's clock of the process: ``/proc/<pid>/stat`` has the same sum in steps of 10 ms, which
        is more than one turn.
        """
        return time.clock_gettime(_cpu_clock_of(self.pid))

    def resident_bytes(self) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"process {self.pid} has no memory")


@cache
def _cpu_clock_of(pid: int) -> int:
    clock = ctypes.c_int()
    failed = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))  # POSIX
    if failed:
        raise OSError(failed, f"process {pid} has no CPU clock")
    return clock.value
