"""Installation of a lock file into .venv: ``python3 -I config/bootstrap.py requirements.txt``.

Runs on the system's bare python3, so it imports only the standard library. Python 3.6 must still be
able to parse this file, so that it reports its version as too old.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "Parley needs Python 3.11 or newer, and this is {}.{}. Install a newer one, and name it "
        "where it is not python3: make run PYTHON=python3.12".format(*sys.version_info)
    )

import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "install.log"

# The lock files that each lock file includes. A test compares this with the files.
INCLUDES = {"requirements.txt": [], "requirements-dev.txt": ["requirements.txt"]}

NO_NETWORK = (
    "NewConnectionError|ConnectTimeoutError|ReadTimeoutError|NameResolutionError|ProxyError|SSLError"
    r"|Connection to |Retrying \(Retry\("
)


def main(lock: str) -> None:
    """Install ``lock`` into .venv, unless it is installed already. End with one sentence if that fails."""
    try:
        _lock_folder()
        if not is_ready(lock):
            if not any(is_ready(included) for included in INCLUDES[lock]):
                _make_venv()
            for other in INCLUDES:
                _stamp(other).unlink(missing_ok=True)
            _install(lock)
            for done in [lock, *INCLUDES[lock]]:
                _stamp(done).write_text(key(done))  # last, so that an interrupted set-up has no stamp
    except OSError as error:
        sys.exit(f"{error.filename or VENV} cannot be written: {error.strerror}.")
    except KeyboardInterrupt:
        sys.exit("The set-up was interrupted; the next one starts again.")


def is_ready(lock: str) -> bool:
    stamp = _stamp(lock)
    if not stamp.is_file() or stamp.read_text() != key(lock):
        return False
    # .venv's Python must start and have this one's version: an upgrade of the system may have replaced it.
    question = [str(PYTHON), "-I", "-c", "import sys; print(sys.implementation.cache_tag)"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    return answer.strip() == sys.implementation.cache_tag


def key(lock: str) -> str:
    """Return what an environment depends on: the lock's content, and the Python and platform."""
    content = hashlib.sha256((ROOT / lock).read_bytes()).hexdigest()
    return f"{content} {sys.implementation.cache_tag} {sys.platform} {platform.machine()}\n"


def _stamp(lock: str) -> Path:
    return VENV / f"{lock}.stamp"


def _lock_folder() -> None:
    """Lock this folder until the process ends, so that only one set-up runs in it."""
    # pip inherits the lock: if the set-up is killed while its pip goes on, the next set-up waits for it.
    folder = os.open(ROOT, os.O_RDONLY)
    os.set_inheritable(folder, True)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Another set-up is at work in this folder; waiting for its end.", flush=True)
        fcntl.flock(folder, fcntl.LOCK_EX)


def _make_venv() -> None:
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        sys.exit(
            "This Python cannot make virtual environments: its venv module is not installed. "
            "On Debian or Ubuntu: apt install python3-venv"
        )
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    command = [sys.executable, "-I", "-m", "venv", "--clear", str(VENV)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        lines = (made.stderr or made.stdout).strip().splitlines() or ["it gave no reason"]
        sys.exit(f"{VENV} cannot be made: {lines[-1]}")


def _install(lock: str) -> None:
    packages = len(re.findall(r"^[A-Za-z0-9].*==", (ROOT / lock).read_text(), re.MULTILINE))
    print(f"Installing {packages} packages into .venv, once. This takes about a minute.", flush=True)
    command = [str(PYTHON), "-I", "-m", "pip", "install", "--no-input", "--no-user"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--retries=2", "--no-compile"]
    command += ["--only-binary=:all:", "--no-deps", "--require-hashes", "-r", str(ROOT / lock)]
    with LOG.open("w") as log:
        # close_fds=False: pip inherits the folder's lock
        code = subprocess.run(command, stdout=log, stderr=log, close_fds=False, check=False).returncode
    if code:
        sys.exit(f"{_reason(LOG.read_text(errors='replace'), lock)} (The whole output of pip: {LOG})")


def _reason(output: str, lock: str) -> str:
    """Return one sentence that explains pip's output."""
    if re.search(NO_NETWORK, output):
        return (
            "The package index cannot be reached. Check the network, or name a mirror of it: "
            "make run PIP_INDEX_URL=https://…"
        )
    if "DO NOT MATCH THE HASHES" in output:
        return f"The package index gave something else than the file whose hash is in {lock}."
    if "No space left on device" in output:
        return "The disk is full."
    missing = re.search(r"No matching distribution found for (\S+)", output)
    if missing:
        return (
            f"The package index has no {missing[1]} for Python {platform.python_version()} on "
            f"{platform.system()} {platform.machine()}."
        )
    errors = re.findall(r"^ERROR: (.+)", output, re.MULTILINE)
    return f"pip could not install the packages: {errors[-1] if errors else 'it was interrupted.'}"


if __name__ == "__main__":
    main(sys.argv[1])
