"""Commands of a model's choosing, run on this machine where they reach nothing of Parley's."""

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

# What may be read: programs and libraries, and what those look for in /etc. No folder of Parley's, of its
# user's or of a service's. /proc is not among it: it shows the server's environment to the same user.
PREFIXES = {sys.prefix, sys.base_prefix, "/usr", "/usr/local"}
OF_A_PREFIX = ("bin", "include", "lib", "lib32", "lib64", "libexec", "pyvenv.cfg", "sbin", "share")
IN_ETC = (
    "alternatives", "ca-certificates", "fonts", "gai.conf", "group", "host.conf", "hosts", "ld.so.cache",
    "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "os-release", "passwd",
    "pki/tls/certs", "protocols", "resolv.conf", "services", "ssl/certs", "ssl/openssl.cnf", "timezone",
)  # fmt: skip
READABLE = [
    *(f"{prefix}/{name}" for prefix in sorted(PREFIXES) for name in OF_A_PREFIX),
    *("/bin", "/lib", "/lib32", "/lib64", "/sbin"),
    *(f"/etc/{name}" for name in IN_ETC),
    *("/dev/random", "/dev/urandom", "/dev/zero"),
]
WRITABLE = ["/dev/null"]

FILE_BYTES = 32 * 1024 * 1024  # of a file that it writes, its output too: a loop that prints fills no disk
PROBE_SECONDS = 20  # a Python that starts on a machine at its limit takes two

# Opens each path that it is given, and prints those that it could open.
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
    """A command that has ended; ``code`` is negative where a signal ended it."""

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

    It has no network, no variable of the environment but ``variables`` and the usual ones, and no open file
    of the server's. When it has ended, so has every process that it started. Of each output ``max_output``
    bytes are returned. ``limits`` are those of the kernel by name, such as ``{"AS": 2**30}``.
    """
    policy = {
        "read": READABLE,
        "write": [*WRITABLE, str(folder)],
        "limits": {"CORE": 0, "FSIZE": FILE_BYTES, **(limits or {})},
    }
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        asked.write(stdin)
        asked.seek(0)
        # A child can't hold up the server by an output that it keeps open, as it could with a pipe.
        process = subprocess.Popen(  # noqa: S603 (confined, which is what this module is about)
            [sys.executable, "-I", str(LAUNCHER), json.dumps(policy), *command],
            stdin=asked,
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


def why_unavailable(kept: Sequence[Path]) -> str | None:
    """Return why nothing can be confined here, None where it can: a confined program cannot open one of
    ``kept``. Tried once a process, which takes a tenth of a second.
    """
    return _why_unavailable(tuple(str(path) for path in kept))


@cache
def _why_unavailable(kept: tuple[str, ...]) -> str | None:
    with tempfile.TemporaryDirectory(prefix="parley-probe-") as folder:
        done = run_confined(
            [sys.executable, "-I", "-c", PROBE, *kept],
            folder=Path(folder),
            seconds=PROBE_SECONDS,
            max_output=10_000,
        )
    if done.code != 0:
        return f"the probe ended with {done.code}: {done.stderr.strip()}"
    return f"confined code could read {done.stdout.strip()}" if done.stdout else None


def secret_paths() -> list[Path]:
    """Return what no model's code may read: Parley's data, and the files of settings."""
    found: list[Path] = [settings.DATA_DIR, settings.ENV_FILE]
    if settings.ON_SQLITE:
        found.append(Path(str(settings.DATABASES["default"]["NAME"])))
    if settings.AGENTS_DIR:
        found += [settings.AGENTS_DIR / ".env", *settings.AGENTS_DIR.glob("*/.env")]
    return [path.resolve() for path in found if path.is_dir() or path.is_file()]


def overlaps(folder: Path, paths: Iterable[Path]) -> bool:
    """Whether ``folder`` holds one of ``paths``, or lies in one of them."""
    folder = folder.resolve()
    return any(path.is_relative_to(folder) or folder.is_relative_to(path) for path in paths)


def _environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
    return {"PATH": path, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and its group: it cannot have left it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # nobody of it is left
    process.wait()


def _read(file: IO[bytes], most: int) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    text = file.read(most).decode("utf-8", "replace")
    return text if size <= most else f"{text}\n[cut: {size - most} more bytes]"
