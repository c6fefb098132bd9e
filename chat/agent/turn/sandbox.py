"""Run commands that a model chose, without network and without access to Parley's files."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from django.conf import settings

LAUNCHER = Path(__file__).with_name("sandbox_launcher.py")

# Readable: programs, libraries, and the files in /etc that these need; no folder of Parley's, its user's or
# another service's. /proc is not readable: it shows the server's environment to processes of the same user.
PREFIXES = {sys.prefix, sys.base_prefix, "/usr", "/usr/local"}
PREFIX_PATHS = ("bin", "include", "lib", "lib32", "lib64", "libexec", "pyvenv.cfg", "sbin", "share")
ETC_PATHS = (
    "alternatives", "ca-certificates", "fonts", "gai.conf", "group", "host.conf", "hosts", "ld.so.cache",
    "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "os-release", "passwd",
    "pki/tls/certs", "protocols", "resolv.conf", "services", "ssl/certs", "ssl/openssl.cnf", "timezone",
)  # fmt: skip
READABLE = [
    *(f"{prefix}/{name}" for prefix in sorted(PREFIXES) for name in PREFIX_PATHS),
    *("/bin", "/lib", "/lib32", "/lib64", "/sbin"),
    *(f"/etc/{name}" for name in ETC_PATHS),
    *("/dev/random", "/dev/urandom", "/dev/zero"),
]
WRITABLE = ["/dev/null"]

# Of each file that the command writes, its output included: endless output must not fill the disk.
FILE_BYTES = 32 * 1024 * 1024
PROBE_SECONDS = 20  # on a fully loaded machine, Python starts within 2 s

# Opens each path of its arguments, and prints those that it could open.
PROBE = """
import os, sys
for path in sys.argv[1:]:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        continue
    print(path)
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a command. ``code`` is negative if a signal ended it."""

    code: int
    stdout: str
    stderr: str
    timed_out: bool = False


def run_confined(
    command: Sequence[str],
    *,
    folder: Path,
    seconds: float,
    max_output: int,
    stdin: bytes = b"",
    variables: Mapping[str, str] | None = None,
    limits: Mapping[str, int] | None = None,
) -> Finished:
    """Run ``command`` in ``folder``, the only one that it may write to, for at most ``seconds``.

    It has no network and none of the server's open files. Its environment has ``variables``, PATH, HOME,
    TMPDIR and LANG. All processes that it started end with it. At most ``max_output`` bytes of each output
    are returned. ``limits`` are the kernel's resource limits by name, for example ``{"AS": 2**30}``.
    """
    policy = {
        "read": READABLE,
        "write": [*WRITABLE, str(folder)],
        "limits": {"CORE": 0, "FSIZE": FILE_BYTES, **(limits or {})},
    }
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        # Files and not pipes: a child that keeps its output open would block a reader of the pipe.
        process = subprocess.Popen(  # noqa: S603 (the launcher confines it)
            [sys.executable, "-I", str(LAUNCHER), json.dumps(policy), *command],
            stdin=given,
            stdout=out,
            stderr=err,
            cwd=folder,
            env=_environment(folder) | dict(variables or {}),
            start_new_session=True,
        )
        timed_out = False
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            _kill(process)
        return Finished(process.returncode, _read(out, max_output), _read(err, max_output), timed_out)


@cache
def why_unavailable(secrets: tuple[Path, ...]) -> str | None:
    """Return why commands cannot be confined on this machine, or None if they can.

    A probe tries to open each of ``secrets``. It runs once in a process and takes 0.1 s.
    """
    with tempfile.TemporaryDirectory(prefix="parley-probe-") as folder:
        done = run_confined(
            [sys.executable, "-I", "-c", PROBE, *map(str, secrets)],
            folder=Path(folder),
            seconds=PROBE_SECONDS,
            max_output=10_000,
        )
    if done.code != 0:
        return f"the probe ended with {done.code}: {done.stderr.strip()}"
    return f"confined code could read {done.stdout.strip()}" if done.stdout else None


def secret_paths() -> tuple[Path, ...]:
    """Return the paths that no model's code may read: Parley's data, and the .env files."""
    found: list[Path] = [settings.DATA_DIR, settings.ENV_FILE]
    if settings.ON_SQLITE:
        found.append(Path(str(settings.DATABASES["default"]["NAME"])))
    if settings.AGENTS_DIR:
        found += [settings.AGENTS_DIR / ".env", *settings.AGENTS_DIR.glob("*/.env")]
    return tuple(path.resolve() for path in found if path.is_dir() or path.is_file())


def overlaps(folder: Path, paths: Iterable[Path]) -> bool:
    """Return whether ``folder`` contains one of ``paths`` or is inside one of them."""
    folder = folder.resolve()
    return any(path.is_relative_to(folder) or folder.is_relative_to(path) for path in paths)


def _environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
    return {"PATH": path, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and its group, which the launcher's seccomp filter does not let it leave."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # the group has no process any more
    process.wait()


def _read(file: IO[bytes], max_bytes: int) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    text = file.read(max_bytes).decode("utf-8", "replace")
    return text if size <= max_bytes else f"{text}\n[cut: {size - max_bytes} more bytes]"
