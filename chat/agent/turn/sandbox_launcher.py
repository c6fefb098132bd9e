"""A script that drops every right that a model's code must not have, and then executes that code.

    python -I sandbox_launcher.py '{"read": […], "write": […], "limits": {…}}' command argument …

`sandbox` starts it. It imports no module of Parley and needs no privilege. Landlock restricts files, seccomp
restricts system calls; neither can be undone, and child processes inherit both.
"""

import ctypes
import json
import os
import platform
import resource
import signal
import stat
import struct
import sys
from typing import NoReturn

EXIT_FAILED = 125  # it cannot confine: the same code as in env and chroot

# From linux/landlock.h. Version 3 of the interface (Linux 6.2) is the first that also refuses truncate().
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_VERSION = 3
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
TRUNCATE, IOCTL_DEVICE = 1 << 14, 1 << 15
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
SCOPE_ABSTRACT_SOCKETS, SCOPE_SIGNALS = 1, 2  # from version 6 on

# From linux/prctl.h, linux/seccomp.h and linux/audit.h.
SET_PDEATHSIG, SET_SECCOMP, CAPBSET_DROP, SET_NO_NEW_PRIVS, CAP_AMBIENT = 1, 22, 24, 38, 47
CAP_AMBIENT_CLEAR_ALL, LAST_CAPABILITY = 4, 63
LOAD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, EPERM = 0x7FFF0000, 0x00050001
X32 = 0x40000000  # x86-64's second set of numbers for the same calls

# By machine: its audit number, and the refused calls: socket, setpgid, setsid, io_uring_setup. A socket
# needs no file: it reaches the database, Docker, systemd, or a cloud's metadata service. A process in another
# group would survive the kill of the group. io_uring bypasses the filter.
REFUSED_CALLS = {
    "x86_64": (0xC000003E, (41, 109, 112, 425)),
    "aarch64": (0xC00000B7, (198, 154, 157, 425)),
}

libc = ctypes.CDLL(None, use_errno=True)


class Filter(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]


def confine_and_exec(policy: str, *command: str) -> NoReturn:
    rules = json.loads(policy)
    for name, value in rules["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    prctl(SET_PDEATHSIG, signal.SIGKILL)
    prctl(SET_NO_NEW_PRIVS, 1)
    drop_capabilities()
    restrict_files(rules["read"], rules["write"])
    restrict_calls()
    os.execvp(command[0], command)  # noqa: S606 (the script's purpose)


def drop_capabilities() -> None:
    """Make root an ordinary user from the next program on. Other users have no capabilities to drop."""
    libc.prctl(CAP_AMBIENT, CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(LAST_CAPABILITY + 1):
        libc.prctl(CAPBSET_DROP, capability, 0, 0, 0)


def restrict_files(read: list[str], write: list[str]) -> None:
    """Refuse access to files outside these paths. Paths that do not exist are skipped."""
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < LANDLOCK_VERSION:
        raise OSError(0, f"needs Landlock version {LANDLOCK_VERSION} (Linux 6.2), here is {max(version, 0)}")
    everything = (TRUNCATE << 1) - 1 | (IOCTL_DEVICE if version >= 5 else 0)
    scopes = SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS
    attributes = struct.pack("QQQ", everything, 0, scopes) if version >= 6 else struct.pack("Q", everything)
    ruleset = system_call(LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    for rights, paths in ((EXECUTE | READ_FILE | READ_DIR, read), (everything, write)):
        for path in paths:
            add_rule(ruleset, path, rights)
    system_call(LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def add_rule(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # the path does not exist on this machine
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        rights &= FILE_RIGHTS
    rule = struct.pack("=Qi", rights, descriptor)
    system_call(LANDLOCK_ADD_RULE, ruleset, 1, rule, 0)
    os.close(descriptor)


def restrict_calls() -> None:
    machine = platform.machine()
    if machine not in REFUSED_CALLS:
        raise OSError(0, f"needs a machine of {' or '.join(REFUSED_CALLS)}, this is {machine}")
    audit, numbers = REFUSED_CALLS[machine]
    program = [(LOAD, 0, 0, 4), (JUMP_IF_EQUAL, 1, 0, audit), (RETURN, 0, 0, EPERM), (LOAD, 0, 0, 0)]
    program += [(JUMP_IF_AT_LEAST, 0, 1, X32), (RETURN, 0, 0, EPERM)]
    for number in numbers:
        program += [(JUMP_IF_EQUAL, 0, 1, number), (RETURN, 0, 0, EPERM)]
    program.append((RETURN, 0, 0, ALLOW))
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    prctl(SET_SECCOMP, 2, ctypes.byref(Filter(len(program), code)))


def prctl(option: int, *arguments: object) -> None:
    padded = [*arguments, 0, 0, 0, 0][:4]
    if libc.prctl(option, *(ctypes.c_ulong(each) if isinstance(each, int) else each for each in padded)):
        raise OSError(ctypes.get_errno(), f"prctl({option}) is refused")


def system_call(number: int, *arguments: object) -> int:
    result: int = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number} is refused")
    return result


if __name__ == "__main__":
    try:
        confine_and_exec(*sys.argv[1:])
    except OSError as error:
        sys.stderr.write(f"confine: {error}\n")
        sys.exit(EXIT_FAILED)
