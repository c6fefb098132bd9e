"""Environments of the peers: each with its own packages, installed once for each lock, in var/peers."""

import hashlib
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import ROOT

FOLDER = ROOT / "var" / "peers"
LOCKS = ROOT / "benchmarks" / "peers"
INSTALL_SECONDS = 900


class NotInstalled(Exception):
    """Raised if an environment cannot be made; its text is the reason."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Virtual environment with exactly the packages of a lock."""

    name: str
    lock: Path
    folder: Path = FOLDER

    @classmethod
    def of_peer(cls, name: str) -> "Environment":
        return cls(name, LOCKS / name / "requirements.txt")

    @property
    def home(self) -> Path:
        return self.folder / self.name

    @property
    def python(self) -> Path:
        return self.home / "bin" / "python"

    @property
    def _stamp(self) -> Path:
        return self.home / "lock.stamp"

    @property
    def is_ready(self) -> bool:
        return self._stamp.is_file() and self._stamp.read_text() == self._key()

    def _key(self) -> str:
        lock = hashlib.sha256(self.lock.read_bytes()).hexdigest()
        return f"{lock} {sys.implementation.cache_tag} {platform.machine()}\n"

    def install(self) -> None:
        """Make the environment, unless it is ready. Raise NotInstalled if that fails."""
        if self.is_ready:
            return
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-I", "-m", "venv", str(self.home)])
        pip = [str(self.python), "-I", "-m", "pip", "install", "--no-input", "--quiet", "--no-deps"]
        _run([*pip, "--disable-pip-version-check", "--require-hashes", "-r", str(self.lock)])
        self._stamp.write_text(self._key())  # last, so that an interrupted installation has none


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"the installation took more than {INSTALL_SECONDS} s") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it gave no reason"]
        raise NotInstalled(lines[-1])
