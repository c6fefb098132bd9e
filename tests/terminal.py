"""``manage.py chat`` as somebody runs it: at a terminal of its own, or with its streams piped."""

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

from tests import commands
from tests.gemini import Gemini
from tests.live import LiveServer, copy_data, prepared_data_dir
from tests.shared import shared

PEOPLE = """
from accounts.models import User
for name in ("alice", "bob", "carol"):
    User.objects.create_user(name, f"{name}@example.org", "correct horse battery", is_active=name != "carol")
"""
CTRL_C, CTRL_D = "\x03", "\x04"


@cache
def peopled_data_dir() -> Path:
    """A prepared data folder with alice and bob, and carol, whose account is not active."""
    return shared("peopled", _people)


def _people(path: Path) -> None:
    copy_data(prepared_data_dir(), path)
    done = LiveServer(path).manage("shell", "-c", PEOPLE)
    assert done.returncode == 0, done.stderr


def peopled(data_dir: Path, gemini: Gemini, **env: str) -> LiveServer:
    """A server that is not started: what it serves, and the environment of its commands."""
    copy_data(peopled_data_dir(), data_dir)
    return LiveServer(data_dir, None, GOOGLE_API_KEY="x", GOOGLE_GEMINI_BASE_URL=gemini.url, **env)


def chat_piped(
    server: LiveServer, lines: str | bytes, *words: str, user: str = "alice"
) -> "subprocess.CompletedProcess[str]":
    given = lines.encode() if isinstance(lines, str) else lines
    return commands.run(["manage.py", "chat", "--user", user, *words], server.env, given)


class Terminal:
    """A pseudo-terminal with the command in its foreground, so that Ctrl-C is a real one."""

    def __init__(self, server: LiveServer, *words: str, user: str = "alice", **streams: int) -> None:
        """``stdin``, ``stdout`` and ``stderr`` may be files of another kind."""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.process = commands.Command(
            ["manage.py", "chat", "--user", user, *words],
            {**server.env, "TERM": "xterm"},
            [streams.get(name, slave) for name in ("stdin", "stdout", "stderr")],
            slave,
        )
        os.close(slave)
        self.raw = b""  # all that reached the terminal

    @property
    def text(self) -> str:
        """What reached the terminal, without what Parley and readline themselves send it."""
        plain = re.sub(r"\x1b\[(?:0|2)m|\x1b\[\?2004[hl]|[\x08]", "", self.raw.decode(errors="replace"))
        return plain.replace("\r", "")

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def expect(self, wanted: str, *, times: int = 1, within: float = 120) -> None:
        """Wait until ``wanted`` has been shown so many times."""
        deadline = time.monotonic() + within
        while self.text.count(wanted) < times:
            assert time.monotonic() < deadline, f"{wanted!r} was not shown: {self.raw!r}"
            if not self._read(0.1) and self.process.poll() is not None:
                assert self.text.count(wanted) >= times, f"{wanted!r} was not shown: {self.raw!r}"

    def leave(self) -> int:
        """Ctrl-C at the prompt, again where it was not heard. Returns the exit code.

        Python's readline shows the prompt and then begins to wait; a signal in between, some
        microseconds, is not looked at before the next one.
        """
        shown = len(self.raw)
        self.type(CTRL_C)
        if not self._read(5):  # it answers with a new line
            self.type(CTRL_C)
        assert len(self.raw) > shown or self._read(5), "Ctrl-C is not heard"
        return self.exit_code()

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other side is closed
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
