"""Render workers of a server, observed through /proc."""

from contextlib import suppress
from pathlib import Path

WORKER = b"chat.rendering.worker"


def children(pid: int) -> list[int]:
    """Return the pids of the child processes of ``pid``."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # the process has ended
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(status.parent.name))
    return sorted(found)


def forkers(server: int) -> list[int]:
    """Return the pids of the server's forkers: one after its first render, none before."""
    return [pid for pid in children(server) if WORKER in Path(f"/proc/{pid}/cmdline").read_bytes()]


def workers(server: int) -> list[int]:
    return [worker for forker in forkers(server) for worker in children(forker)]


def seconds(pids: list[int]) -> float:
    """Return the CPU time of these processes; ended ones count 0."""
    used = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            used += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    return used / 1e9
