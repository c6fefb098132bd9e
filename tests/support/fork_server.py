"""Fork server for Parley's commands that has imported the large libraries. Its client is commands.py.

Run it as ``python -m tests.support.fork_server FD``. The imports take 2 of the 3 seconds of CPU that
``manage.py serve`` or ``chat`` needs to start, and the tests start 250 commands. Each child has its own
environment, files and signals. Settings and Parley's own modules are imported only in the child.
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

# None of these reads Parley's settings or leaves a thread or an open file behind. None imports sqlite3,
# which config/__init__.py replaces, or Twisted's reactor, which each process must install itself.
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
MAX_REQUEST = 1 << 17  # bytes: the arguments of a command and its environment


class ForkServer:
    """Accepts commands on a Unix socket.

    A request's first file is its status socket: the child's pid is sent on it, later its exit code.
    The others are the child's stdin, stdout, stderr and, optionally, its controlling terminal.
    """

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._closed = False
        self._status_sockets: dict[int, socket.socket] = {}  # by pid
        self._child_ended, waker = socket.socketpair()
        self._child_ended.setblocking(False)
        waker.setblocking(False)
        self._waker = waker
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno())

    def serve(self) -> dict[str, Any] | None:
        """Serve until the client closes the socket; in a forked child, return its request."""
        with selectors.DefaultSelector() as readable:
            readable.register(self._requests, selectors.EVENT_READ, self._accept)
            readable.register(self._child_ended, selectors.EVENT_READ, self._reap)
            while True:
                for key, _events in readable.select():
                    request: dict[str, Any] | None = key.data()
                    if request:
                        return request
                    if self._closed:
                        return None

    def _accept(self) -> dict[str, Any] | None:
        message, ancillary, _flags, _address = self._requests.recvmsg(MAX_REQUEST, socket.CMSG_SPACE(5 * 4))
        if not message:
            self._close()
            return None
        files = array.array("i", ancillary[0][2])
        pid = os.fork()
        if pid == 0:
            request: dict[str, Any] = json.loads(message)
            _set_up_child(request, files[1:])
            return request
        status_socket = socket.socket(fileno=files[0])
        status_socket.send(str(pid).encode())
        self._status_sockets[pid] = status_socket
        for file in files[1:]:
            os.close(file)
        return None

    def _close(self) -> None:
        """Kill all children: the test process has ended."""
        self._closed = True
        for pid in self._status_sockets:
            os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        self._child_ended.recv(4096)
        while self._status_sockets:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            # A test need not wait for its command, and may have closed the socket.
            with self._status_sockets.pop(pid) as status_socket, suppress(ConnectionError):
                status_socket.send(str(os.waitstatus_to_exitcode(status)).encode())


def _set_up_child(request: dict[str, Any], files: "array.array[int]") -> None:
    """Give the forked process the signals, files and environment that a shell would give it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if len(files) > 3:  # files[3] becomes the controlling terminal, so that Ctrl-C sends a real SIGINT
        os.setsid()
        fcntl.ioctl(files[3], termios.TIOCSCTTY, 0)
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    os.closerange(3, 1 << 12)
    os.environ.clear()
    os.environ.update(request["env"])
    sys.stdin = sys.__stdin__ = _open(0, "r", "surrogateescape")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _open(1, "w", "surrogateescape")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _open(2, "w", "backslashreplace", 1)  # type: ignore[misc]


def _open(number: int, mode: str, errors: str, buffering: int = -1) -> Any:
    """Open a standard stream as Python does at startup."""
    return open(number, mode, buffering, errors=errors)


def _run(arguments: list[str]) -> NoReturn:
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    for name in LIBRARIES:
        importlib.import_module(name)
    assert not {"sqlite3", "twisted.internet.reactor"} & sys.modules.keys()
    # Without this, the garbage collector scans all imported objects when a command ends: 0.6 s.
    gc.freeze()
    request = ForkServer(socket.socket(fileno=int(sys.argv[1]))).serve()
    if request:
        _run(request["arguments"])
