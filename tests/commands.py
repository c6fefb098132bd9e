"""Parley's commands as processes: ``manage.py …``, begun in a fraction of the time by tests/nursery.py."""

import array
import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

ROOT = Path(__file__).resolve().parent.parent


class Command:
    """A process that has begun, with what ``subprocess.Popen`` offers for it."""

    def __init__(
        self,
        words: Sequence[str],
        env: dict[str, str],
        streams: Sequence[int],
        terminal: int | None = None,
    ) -> None:
        """``streams``: what it is to have as its first three. ``terminal`` becomes its own."""
        self.words = words
        self.returncode: int | None = None
        self._line, theirs = socket.socketpair()
        order = json.dumps({"words": words, "env": env}).encode()
        files = array.array("i", [theirs.fileno(), *streams, *([] if terminal is None else [terminal])])
        with theirs:
            _door().sendmsg([order], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        self.pid = int(self._line.recv(32))

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.words, timeout)
        return code

    def _ended(self, seconds: float) -> int | None:
        if self.returncode is None and select.select([self._line], [], [], seconds)[0]:
            with self._line:
                self.returncode = int(self._line.recv(32))
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
        self.wait(30)


@cache
def _door() -> socket.socket:
    """Where this test process's nursery takes its orders."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp")}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery", str(theirs.fileno())],
            cwd=ROOT,
            env=env,
            pass_fds=[theirs.fileno()],
        )

    def close() -> None:
        ours.close()
        process.wait(30)

    atexit.register(close)
    return ours


def run(
    words: Sequence[str], env: dict[str, str], given: bytes = b"", *, within: float = 180
) -> "subprocess.CompletedProcess[str]":
    """As ``subprocess.run`` with its output captured. Raises TimeoutExpired, when it has been killed."""
    with TemporaryFile() as stdin, TemporaryFile() as stdout, TemporaryFile() as stderr:
        stdin.write(given)
        stdin.seek(0)
        command = Command(words, env, (stdin.fileno(), stdout.fileno(), stderr.fileno()))
        try:
            code = command.wait(within)
        except subprocess.TimeoutExpired:
            command.kill()
            raise
        return subprocess.CompletedProcess(words, code, _text(stdout), _text(stderr))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
