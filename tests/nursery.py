"""``python -m tests.nursery FD``: it has imported the large libraries, and forks Parley's commands.

Importing them takes 2 of the 3 seconds of CPU that ``manage.py serve`` or ``chat`` needs to begin, and
tests begin 250 of them. What is forked is a process of its own with its own environment, files and signals;
settings and Parley's own modules are first imported there. tests/commands.py is the other side.
"""

import array
import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import termios
from contextlib import suppress
from typing import Any, NoReturn

# Nothing of these reads Parley's settings, keeps a thread or an open file, or imports sqlite3, which
# config/__init__.py exchanges, or Twisted's reactor, of which each process has its own.
LIBRARIES = """
    anyio._backends._asyncio
    authlib.integrations.requests_client
    autobahn.twisted
    channels.routing
    django.core.handlers.asgi
    django.core.management
    django.db.migrations
    django.db.models
    django.http
    django.middleware.csrf
    django.template
    dotenv
    google.adk.agents.llm_agent
    google.adk.apps.app
    google.adk.auth.auth_preprocessor
    google.adk.auth.exchanger.oauth2_credential_exchanger
    google.adk.auth.oauth2_credential_util
    google.adk.flows.llm_flows.auto_flow
    google.adk.models.google_llm
    google.adk.runners
    google.adk.sessions
    google.adk.tools
    google.adk.tools.agent_tool
    google.adk.workflow._workflow
    google.genai
    httpcore
    httpx
    prometheus_client
    redis.asyncio
    servestatic.middleware
    twisted.internet.asyncioreactor
    twisted.web.http
    uuid_utils
    yaml
""".split()
LARGEST = 1 << 17  # an order: the words of a command and its environment


class Nursery:
    """Takes orders at ``door``. Each comes with a line for its child's pid and, later, its end."""

    def __init__(self, door: socket.socket) -> None:
        self._door = door
        self._closed = False
        self._lines: dict[int, socket.socket] = {}
        self._woken, waker = socket.socketpair()
        self._woken.setblocking(False)
        waker.setblocking(False)
        self._waker = waker
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno())

    def serve(self) -> dict[str, Any] | None:
        """Until the door is closed; in a child: the order that it is for."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._door, selectors.EVENT_READ, self._take)
            waiting.register(self._woken, selectors.EVENT_READ, self._bury)
            while True:
                for key, _events in waiting.select():
                    order: dict[str, Any] | None = key.data()
                    if order:
                        return order
                    if self._closed:
                        return None

    def _take(self) -> dict[str, Any] | None:
        message, ancillary, _flags, _address = self._door.recvmsg(LARGEST, socket.CMSG_SPACE(5 * 4))
        if not message:
            self._close()
            return None
        files = array.array("i", ancillary[0][2])
        pid = os.fork()
        if pid == 0:
            order: dict[str, Any] = json.loads(message)
            _become(order, files[1:])
            return order
        line = socket.socket(fileno=files[0])
        line.send(str(pid).encode())
        self._lines[pid] = line
        for file in files[1:]:
            os.close(file)
        return None

    def _close(self) -> None:
        """The tests have ended: nothing that they began outlives them."""
        self._closed = True
        for pid in self._lines:
            os.kill(pid, signal.SIGKILL)

    def _bury(self) -> None:
        self._woken.recv(4096)
        while self._lines:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            # who began it may have lost its interest
            with self._lines.pop(pid) as line, suppress(ConnectionError):
                line.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(order: dict[str, Any], files: "array.array[int]") -> None:
    """A process as a shell would have started it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if len(files) > 3:  # the last one is to be its terminal, so that Ctrl-C there is a real one
        os.setsid()
        fcntl.ioctl(files[3], termios.TIOCSCTTY, 0)
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    os.closerange(3, 1 << 12)
    os.environ.clear()
    os.environ.update(order["env"])
    sys.stdin = sys.__stdin__ = _open(0, "r", "surrogateescape")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _open(1, "w", "surrogateescape")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _open(2, "w", "backslashreplace", 1)  # type: ignore[misc]


def _open(number: int, mode: str, errors: str, buffering: int = -1) -> Any:
    """As Python opens it when it starts."""
    return open(number, mode, buffering, errors=errors)


def _run(words: list[str]) -> NoReturn:
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    for name in LIBRARIES:
        importlib.import_module(name)
    assert not {"sqlite3", "twisted.internet.reactor"} & sys.modules.keys()
    # The collector of a command that ends would look through all of that, for 0.6 s.
    gc.freeze()
    order = Nursery(socket.socket(fileno=int(sys.argv[1]))).serve()
    if order:
        _run(order["words"])
