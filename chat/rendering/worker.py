"""``python -m chat.rendering.worker FD LANGUAGE``: the rendering processes.

The first process imports the parsers, then forks a worker for each socket that it receives over FD. A fork
costs 2 ms and a start 200 ms, so killing a worker is cheap. chat/rendering/pool.py is the other side.
"""

import gc
import os
import resource
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import django.apps
from django.conf import settings

from chat.rendering import frames, render
from chat.rendering.stream import MarkdownStream

# An idle process checks this often that its parent lives. An open socket is no proof: every fork of the
# server holds a copy of the other end.
PARENT_CHECK_SECONDS = 5
# The kernel's own time-out: Python's costs two more system calls.
PARENT_CHECK_TIMEVAL = struct.pack("ll", PARENT_CHECK_SECONDS, 0)
# Importing these lexers takes 0.1 s. Done before the first fork, no worker pays for it out of its budget.
PRELOADED_LANGUAGES = "bash c cpp css go html java javascript json python rust sql typescript yaml".split()


def main(door: socket.socket, language: str) -> None:
    """Fork workers until the server closes ``door`` or dies."""
    # The server decides when rendering ends: Ctrl-C, systemd and a closed terminal signal whole groups.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    _set_up(language)
    render("$x$\n\n" + "\n\n".join(f"```{name}\nx\n```" for name in PRELOADED_LANGUAGES))
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 2)  # a panic in Rust prints what it was parsing
    gc.freeze()  # a collection would write to every page that the workers share
    door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, PARENT_CHECK_TIMEVAL)
    parent = os.getppid()
    while _wait(door, parent):
        told, files, _flags, _address = socket.recv_fds(door, 1, 1)
        if not told:
            return
        if os.fork() == 0:
            door.close()
            _work(socket.socket(fileno=files[0]))
        os.close(files[0])


def _set_up(language: str) -> None:
    """Set up Django's translations, without models and without the server's settings."""
    # Settings hold secrets, and a parser may be exploited.

    class WithoutModels(django.apps.AppConfig):
        def import_models(self) -> None:
            pass

    settings.configure(LANGUAGE_CODE=language)
    django.apps.apps.populate([WithoutModels("chat", sys.modules["chat"])])


def _wait(connection: socket.socket, parent: int) -> bool:
    """Wait until the socket is readable. Return False if the parent died first."""
    while os.getppid() == parent:
        try:
            connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:  # nothing for PARENT_CHECK_SECONDS
            continue
        except OSError:
            return False
        return True
    return False


def _work(connection: socket.socket) -> NoReturn:
    """Do jobs until the server hangs up. Never return into the code of the process that forked."""
    code = 1
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, PARENT_CHECK_TIMEVAL)
        frames.send_value(connection, os.getpid())
        parent = os.getppid()
        while _wait(connection, parent):
            budget, name, *arguments = frames.receive_value(connection)
            frames.send_value(connection, _do(budget, JOBS[name], arguments))
            signal.setitimer(signal.ITIMER_PROF, 0)
        code = 0
    except (EOFError, OSError):
        code = 0  # the server hung up, or is gone
    finally:
        os._exit(code)


def _do(budget: float, job: Callable[..., Any], arguments: list[Any]) -> list[Any]:
    """Return the CPU seconds, the peak memory in KiB, the result, and an error's traceback.

    SIGPROF keeps its default action, which ends this process: also in the middle of a regular expression,
    where no Python code runs and no exception could be raised. It counts CPU time, so a busy machine does not
    make an ordinary text too slow. Sending the result is within the budget, too.
    """
    signal.setitimer(signal.ITIMER_PROF, budget)
    began = time.process_time()
    result, error = None, ""
    try:
        result = job(*arguments)
    except BaseException as failure:  # noqa: BLE001  (a panic in Rust is no Exception)
        # Without the message, which may quote the text.
        error = "".join([*traceback.format_tb(failure.__traceback__), type(failure).__name__])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return [time.process_time() - began, memory, result, error]


def _part(tail: str, definitions: dict[str, list[str]], closes: bool) -> list[Any]:
    """Return the new final blocks, the rest of ``tail``, the link definitions, and the open HTML."""
    stream = MarkdownStream()
    stream._definitions = {label: (url, title) for label, (url, title) in definitions.items()}
    stream.feed(tail)
    if closes:
        stream.close()
    left = stream.tail + ("\r" if tail.endswith("\r") else "")
    return [stream.closed, left, stream._definitions, stream.open_html()]


def _thumbnail(path: str) -> str | None:
    from chat.rendering.thumbnails import thumbnail_of  # Pillow takes 8 MB, and most workers need none

    return thumbnail_of(path)


JOBS: dict[str, Callable[..., Any]] = {"whole": render, "part": _part, "thumbnail": _thumbnail}


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
