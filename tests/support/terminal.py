"""``manage.py chat`` at a pseudo-terminal, or with its streams piped."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from functools import cache
from pathlib import Path

from tests.support import commands
from tests.support.gemini import Gemini
from tests.support.live import LiveServer, copy_data, prepared_data_dir
from tests.support.shared import shared

PEOPLE = """
from accounts.models import User
for name in ("alice", "bob", "carol"):
    User.objects.create_user(name, f"{name}@example.org", "correct horse battery", is_active=name != "carol")
"""
CTRL_C, CTRL_D = "\x03", "\x04"


@cache
def peopled_data_dir() -> Path:
    """Return a prepared data folder with alice, bob and the inactive carol."""
    return shared("peopled", _people)


def _people(path: Path) -> None:
    copy_data(prepared_data_dir(), path)
    done = LiveServer(path).manage("shell", "-c", PEOPLE)
    assert done.returncode == 0, done.stderr


def peopled(data_dir: Path, gemini: Gemini, **env: str) -> LiveServer:
    """Return a server that is not started, for its data folder and the environment of commands."""
    copy_data(peopled_data_dir(), data_dir)
    return LiveServer(data_dir, None, GOOGLE_API_KEY="x", GOOGLE_GEMINI_BASE_URL=gemini.url, **env)


def chat_piped(
    server: LiveServer, lines: str | bytes, *arguments: str, user: str = "alice"
) -> "subprocess.CompletedProcess[str]":
    stdin = lines.encode() if isinstance(lines, str) else lines
    return commands.run(["manage.py", "chat", "--user", user, *arguments], server.env, stdin)


class Terminal:
    """Pseudo-terminal with the command in its foreground, so that Ctrl-C sends a real SIGINT."""

    def __init__(self, server: LiveServer, *arguments: str, user: str = "alice", **streams: int) -> None:
        """Start the command; ``streams`` can replace its ``stdin``, ``stdout`` and ``stderr``."""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.process = commands.Command(
            ["manage.py", "chat", "--user", user, *arguments],
            {**server.env, "TERM": "xterm"},
            [streams.get(name, slave) for name in ("stdin", "stdout", "stderr")],
            slave,
        )
        os.close(slave)
        self.raw = b""  # all output

    @property
    def text(self) -> str:
        """Output without the control sequences of Parley and readline."""
        plain = re.sub(r"\x1b\[(?:0|2)m|\x1b\[\?2004[hl]|[\x08]", "", self.raw.decode(errors="replace"))
        return plain.replace("\r", "")

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def expect(self, wanted: str, *, times: int = 1, within: float = 120) -> None:
        """Wait until the output contains ``wanted`` so many times."""
        deadline = time.monotonic() + within
        while self.text.count(wanted) < times:
            assert time.monotonic() < deadline, f"{wanted!r} is not in the output: {self.raw!r}"
            if not self._read(0.1) and self.process.poll() is not None:
                assert self.text.count(wanted) >= times, f"{wanted!r} is not in the output: {self.raw!r}"

    def leave(self) -> int:
        """Press Ctrl-C at the prompt, twice if needed, and return the exit code.

        Python's readline writes the prompt some microseconds before it waits for input. A signal in
        between is handled only with the next one.
        """
        shown = len(self.raw)
        self.type(CTRL_C)
        if not self._read(5):  # the command writes a line end
            self.type(CTRL_C)
        assert len(self.raw) > shown or self._read(5), "no reaction to Ctrl-C"
        return self.exit_code()

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the command has closed the terminal
            return False
        self.raw += data
        return bool(data)

    def exit_code(self, within: float = 120) -> int:
        deadline = time.monotonic() + within
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it did not end: {self.raw!r}"
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.wait(0)

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        os.close(self._master)
