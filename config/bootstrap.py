"""Installation of packages into .venv: ``python3 -I config/bootstrap.py requirements.txt``.

With the server's lock go those of EXTRAS, and the packages of the agents in AGENTS_DIR.
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
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "install.log"
CONSTRAINTS = VENV / "constraints.txt"
LINES = VENV / "lines.txt"

SERVER_LOCK = "requirements.txt"
AGENTS_FILE = "requirements.txt"  # in AGENTS_DIR
DEV_LOCK = "requirements-dev.txt"  # holds all other locks, which a test checks
EXTRA_LOCKS = {
    path.stem.partition("-")[2]: path.name
    for path in sorted(ROOT.glob("requirements-*.txt"))
    if path.name != DEV_LOCK
}

NO_NETWORK = (
    "NewConnectionError|ConnectTimeoutError|ReadTimeoutError|NameResolutionError|ProxyError|SSLError"
    r"|Connection to |Retrying \(Retry\("
)


UNREACHABLE = (
    "The package index cannot be reached. Check the network, or name a mirror of it: "
    "make run PIP_INDEX_URL=https://…"
)


def main(lock: str) -> None:
    """Install ``lock`` into .venv, unless it is installed already. End with one sentence if that fails."""
    included = [SERVER_LOCK, *EXTRA_LOCKS.values()] if lock == DEV_LOCK else []
    extras = [] if lock == DEV_LOCK else _extra_locks()
    try:
        _lock_folder()
        if not is_ready(lock):
            if not (included and is_ready(SERVER_LOCK)):
                _make_venv()
            for stamp in VENV.glob("*.stamp"):
                stamp.unlink()
            _install([lock])
            _stamp_all([lock, *included])
        missing = [extra for extra in extras if not is_ready(extra)]
        if missing:
            # The server's stamp stays: an extra has the same versions of the server's packages.
            _install(missing)
            _stamp_all(missing)
        if lock == SERVER_LOCK:
            _install_packages_of_agents()
    except OSError as error:
        sys.exit(f"{error.filename or VENV} cannot be written: {error.strerror}.")
    except KeyboardInterrupt:
        sys.exit("The set-up was interrupted; the next one starts again.")


def _extra_locks() -> list[str]:
    """Return the lock files of the sets that EXTRAS names."""
    names = [name.strip() for name in _setting("EXTRAS").split(",") if name.strip()]
    unknown = [name for name in names if name not in EXTRA_LOCKS]
    if unknown:
        sys.exit(f"EXTRAS has no set {unknown[0]!r}. The sets are {', '.join(EXTRA_LOCKS)}.")
    return [EXTRA_LOCKS[name] for name in names]


def _setting(name: str) -> str:
    """Return a setting from the environment, else from ENV_FILE, else an empty string."""
    if name in os.environ:
        return os.environ[name].strip()
    file = Path(os.environ.get("ENV_FILE", "").strip() or ROOT / ".env")
    try:
        lines = re.findall(
            rf"^\s*(?:export\s+)?{name}\s*=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE
        )
        words = shlex.split(lines[-1], comments=True) if lines else []
    except (OSError, ValueError):
        return ""  # the server's start reports a file or a line that cannot be read
    return os.path.expandvars(" ".join(words))


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


def _stamp_all(locks: list[str]) -> None:
    # Called last, so that an interrupted set-up has no stamp.
    for lock in locks:
        _stamp(lock).write_text(key(lock))


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


def _install(locks: list[str]) -> None:
    packages = {name for lock in locks for name in _pins(lock)}
    if SERVER_LOCK not in locks:
        packages -= _pins(SERVER_LOCK).keys()
    what = "" if SERVER_LOCK in locks or DEV_LOCK in locks else " of EXTRAS"
    print(
        f"Installing {len(packages)} packages{what} into .venv, once. This takes about a minute.", flush=True
    )
    files = [word for lock in locks for word in ("-r", str(ROOT / lock))]
    output = _pip("--no-deps", "--require-hashes", *files)
    if output is not None:
        sys.exit(f"{_reason(output, ' or '.join(locks))} (The whole output of pip: {LOG})")


def _install_packages_of_agents() -> None:
    """Install AGENTS_DIR/requirements.txt, within the installed locks. Print a sentence for each bad line."""
    folder = Path(_setting("AGENTS_DIR") or os.devnull).expanduser().absolute()
    file, stamp = folder / AGENTS_FILE, VENV / "agents.stamp"
    if not file.is_file():
        return
    locks = [lock for lock in (SERVER_LOCK, *EXTRA_LOCKS.values(), DEV_LOCK) if is_ready(lock)]
    # The file may include others, which are usually beside it or in the folder of an agent.
    paths = sorted([*folder.glob("*requirements*.txt"), *folder.glob("*/*requirements*.txt")])
    files = [str(path).encode() + path.read_bytes() for path in paths if path.is_file()]
    state = hashlib.sha256(b"".join([*files, *(key(lock).encode() for lock in locks)])).hexdigest()
    kept = stamp.read_text().splitlines() if stamp.is_file() else []
    if kept[:1] == [state]:
        problems = kept[1:]
    else:
        print(f"Installing the packages that {file} names.", flush=True)
        stamp.unlink(missing_ok=True)
        pins = {name: line for lock in locks for name, line in _pins(lock).items()}
        CONSTRAINTS.write_text("\n".join(pins.values()))
        problems = _install_lines(file)
        if UNREACHABLE not in problems:  # without a stamp, the next set-up tries again
            stamp.write_text("\n".join([state, *problems]))
    for sentence in problems:
        print(f"{file}: {sentence}", flush=True)


def _install_lines(file: Path) -> list[str]:
    """Install the lines of a requirements file that can be. Return a sentence for each other line."""
    output = _pip("-r", str(file), "-c", str(CONSTRAINTS), folder=file.parent)
    if output is None:
        return []
    text = file.read_text(encoding="utf-8", errors="replace")
    if re.search(NO_NETWORK, output):
        return [UNREACHABLE]
    if "--hash" in text:  # then a line cannot be installed without the lines of what it depends on
        return [_contradiction(output)]
    # pip often names a package that a line depends on, and not the line. So each line is tried alone.
    shared, good, problems = [], [], []
    for number, line in _logical_lines(text, file.parent):
        if line.startswith("-") and not line.startswith(("-r", "-e")):
            shared.append(line)
            continue
        LINES.write_text("\n".join([*shared, line]))
        output = _pip("-r", str(LINES), "-c", str(CONSTRAINTS), "--dry-run", folder=file.parent)
        if output is None:
            good.append(line)
        elif re.search(NO_NETWORK, output):
            return [UNREACHABLE]
        else:
            problems.append(f"line {number} ({line}) is not installed. {_contradiction(output)}")
    LINES.write_text("\n".join([*shared, *good]))
    output = _pip("-r", str(LINES), "-c", str(CONSTRAINTS), folder=file.parent) if good else None
    if output is not None:
        problems.append(f"The other lines cannot be installed together. {_contradiction(output)}")
    return problems


def _logical_lines(text: str, folder: Path) -> list[tuple[int, str]]:
    """Return the lines of a requirements file with their numbers, joined and without comments.

    Files that they include get their whole path, because pip reads the lines from another folder.
    """
    found, start, line = [], 0, ""
    for number, part in enumerate(text.splitlines(), start=1):
        start = start if line else number
        line += re.sub(r"(^|\s)#.*", "", part)
        if line.endswith("\\"):
            line = line[:-1]
            continue
        option = re.match(r"(?:(-r)|(-c)|--(r)equirement|--(c)onstraint)[\s=]*(\S+)\s*$", line.strip())
        if option:
            line = f"-{''.join(filter(None, option.groups()[:4]))[-1]} {shlex.quote(str(folder / option[5]))}"
        if line.strip():
            found.append((start, " ".join(line.split())))
        line = ""
    return found


def _contradiction(output: str) -> str:
    """Return one sentence that explains why pip could not install the packages of agents."""
    pin = re.search(r"The user requested \(constraint\) (\S+)", output)
    if not pin:
        return _reason(output, AGENTS_FILE)
    needs = re.search(r"^    (\S+ \S+) depends on (.+)", output, re.MULTILINE)
    return f"{needs[1]} needs {needs[2]}, and Parley {pin[1]}." if needs else f"Parley needs {pin[1]}."


def _pins(lock: str) -> dict[str, str]:
    """Return the line of each package in a lock, without its hashes."""
    lines = re.findall(r"^(([A-Za-z0-9][^=\s]*)==[^\\\n]*)", (ROOT / lock).read_text(), re.MULTILINE)
    return {name: line.partition(" --hash")[0].strip() for line, name in lines}


def _pip(*arguments: str, folder: Path = ROOT) -> str | None:
    """Run ``pip install`` with wheels only. Return None, or pip's output if it fails."""
    command = [str(PYTHON), "-I", "-m", "pip", "install", "--no-input", "--no-user"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--retries=2", "--no-compile"]
    command += ["--only-binary=:all:", *arguments]
    with LOG.open("w") as log:
        # close_fds=False: pip inherits the folder's lock
        code = subprocess.run(
            command, stdout=log, stderr=log, cwd=folder, close_fds=False, check=False
        ).returncode
    return LOG.read_text(errors="replace") if code else None


def _reason(output: str, lock: str) -> str:
    """Return one sentence that explains pip's output."""
    if re.search(NO_NETWORK, output):
        return UNREACHABLE
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
