"""``manage.py …`` as processes that start in a third of the time: multiprocessing forks them."""

import atexit
import ctypes
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import chdir
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
OWN_PATH = tuple(sys.path)  # without an AGENTS_DIR of the tests' own process

multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.support.preload"])


@atexit.register
def _kill_all() -> None:
    # multiprocessing itself would send SIGTERM, and wait until each command has ended.
    for command in multiprocessing.active_children():
        command.kill()


class Command(ForkServerProcess):
    """A running process, with its own environment, files, signals, and optionally a terminal."""

    pid: int

    def __init__(
        self,
        arguments: Sequence[str],
        env: dict[str, str],
        streams: Sequence[int],
        terminal: int | None = None,
    ) -> None:
        """Start the process; ``streams`` are its first three files, ``terminal`` its controlling terminal."""
        super().__init__(daemon=True)
        self.arguments, self._env, self._path = arguments, env, OWN_PATH
        self._files: list[Any] = [*streams, *([] if terminal is None else [terminal])]
        # Each command would import the module that runs the tests, for functions defined there.
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:
            with chdir(ROOT):
                self.start()
        finally:
            sys.modules["__main__"] = main

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": [DupFd(file) for file in self._files]}

    def run(self) -> None:
        """Become the command: take its files and environment, execute it, and end as Python does."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # when the fork server ends with the tests
        files = [file.detach() for file in self._files]
        if len(files) > 3:  # files[3] becomes the controlling terminal, so that Ctrl-C sends a real SIGINT
            os.setsid()
            fcntl.ioctl(files[3], termios.TIOCSCTTY, 0)
        for number, file in enumerate(files[:3]):
            os.dup2(file, number)
        os.closerange(3, 1 << 12)
        os.environ.clear()
        os.environ.update(self._env)
        sys.path[:] = self._path  # multiprocessing passes on the path that the tests have now
        # as Python opens them at startup
        sys.stdin = sys.__stdin__ = os.fdopen(0, "r", -1, None, "surrogateescape")  # type: ignore[misc]
        sys.stdout = sys.__stdout__ = os.fdopen(1, "w", -1, None, "surrogateescape")  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, None, "backslashreplace")  # type: ignore[misc]
        sys.argv = list(self.arguments)
        if self.arguments[0] == "-m":
            run = f"sys.argv.pop(0); runpy.run_module({self.arguments[1]!r}, None, '__main__', True)"
        else:
            run = f"runpy.run_path({self.arguments[0]!r}, None, '__main__')"
        # As ``python -c`` does. multiprocessing would end the process without exit handlers.
        failed = ctypes.pythonapi.PyRun_SimpleString(f"import runpy, sys; {run}".encode())
        ctypes.pythonapi.Py_Exit(-failed)

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self, timeout: float) -> int:
        self.join(timeout)
        if self.exitcode is None:
            raise subprocess.TimeoutExpired(self.arguments, timeout)
        return self.exitcode

    def send_signal(self, number: int) -> None:
        if self.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
        self.wait(30)


def run(
    arguments: Sequence[str], env: dict[str, str], given: bytes = b"", *, within: float = 180
) -> "subprocess.CompletedProcess[str]":
    """Run a command as ``subprocess.run`` does, with captured output.

    Kills it after ``within`` seconds and raises TimeoutExpired.
    """
    with TemporaryFile() as stdin, TemporaryFile() as stdout, TemporaryFile() as stderr:
        stdin.write(given)
        stdin.seek(0)
        command = Command(arguments, env, (stdin.fileno(), stdout.fileno(), stderr.fileno()))
        try:
            code = command.wait(within)
        except subprocess.TimeoutExpired:
            command.kill()
            raise
        return subprocess.CompletedProcess(arguments, code, _text(stdout), _text(stderr))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
