"""Parley of another commit: its files in a temporary folder, its packages in an environment of its own."""

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

from benchmarks.environments import Environment, NotInstalled
from benchmarks.processes import ROOT, Program

LOCK = "requirements.txt"


def program_of(commit: str, folder: Path) -> Program:
    """Unpack the commit into ``folder``, and install its lock. Raise NotInstalled if that fails."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", commit]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise NotInstalled(f"git has no commit {commit}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    lock = folder / LOCK
    environment = Environment(f"parley-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}", lock)
    environment.install()
    return Program(environment.python, folder)
