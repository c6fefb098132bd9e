"""Folder that all test processes of a run share; they inherit its path in the environment."""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import certifi

if "TESTS_DIR" not in os.environ:
    os.environ["TESTS_DIR"] = tempfile.mkdtemp(prefix="parley-test-")
    atexit.register(shutil.rmtree, os.environ["TESTS_DIR"], ignore_errors=True)
TESTS_DIR = Path(os.environ["TESTS_DIR"])

# No test needs public certificates, and loading certifi's 140 takes 40 ms for each client.
CERTIFICATE = TESTS_DIR / "certificate.pem"
if not CERTIFICATE.exists():
    CERTIFICATE.write_text(Path(certifi.where()).read_text().split("\n\n# Issuer")[0])


def shared(name: str, make: Callable[[Path], None]) -> Path:
    """Return the shared folder of this name, which the first process that needs it makes."""
    path = TESTS_DIR / name
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            making = path.with_suffix(".new")
            shutil.rmtree(making, ignore_errors=True)  # left by a maker that timed out
            making.mkdir()
            make(making)
            making.rename(path)
    return path
