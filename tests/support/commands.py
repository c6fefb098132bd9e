"""Client of the fork server: run ``manage.py …`` as processes that start in a third of the time."""

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

ROOT = Path(__file__).resolve().parents[2]


class Command:
    """A running process, with part of the interface of ``subprocess.Popen``."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: dict[str, str],
        streams: Sequence[int],
        terminal: int | None = None,
    ) -> None:
        """Start the process; ``streams`` are its first three files, ``terminal`` its controlling terminal."""
        self.arguments = arguments
        self.returncode: int | None = None
        self._status_socket, theirs = socket.socketpair()
        request = json.dumps({"arguments": arguments, "env": env}).encode()
        files = array.array("i", [theirs.fileno(), *streams, *([] if terminal is None else [terminal])])
        with theirs:
            _fork_server().sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        self.pid = int(self._status_socket.recv(32))

    def poll(self) -> int | None:
        return self._exit_code(0)

    def wait(self, timeout: float) -> int:
        code = self._exit_code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.arguments, timeout)
        return code

    def _exit_code(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._status_socket], [], [], timeout)[0]:
            with self._status_socket:
                self.returncode = int(self._status_socket.recv(32))
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
        self.wait(30)


@cache
def _fork_server() -> socket.socket:
    """Start this test process's fork server and return the socket that takes its requests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp")}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
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
