"""Real server in its own process, on a free port, with its own data folder; and members as HTTP clients."""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.support import commands
from tests.support.shared import CERTIFICATE, shared
from tests.support.sse_client import SseEvent, SseParser, Wanted, is_last

PASSWORD = "correct horse battery"

_prepared_databases: set[str] = set()  # names of those that new_database made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@cache
def prepared_data_dir() -> Path:
    """Return a data folder on which ``manage.py prepare`` has run."""
    return shared("prepared", lambda path: LiveServer(path)._prepare())


@contextmanager
def new_database(url: str) -> Iterator[str]:
    """Yield the URL of a new PostgreSQL database beside that of ``url``, as ``manage.py prepare`` leaves it.

    Migrations take 5 s of CPU on PostgreSQL. They run once, and each database is a copy of the result. The
    copied one has the name of ``url`` in its own, by which ``services.database`` finds and drops it.
    """
    prepared = f"{urlsplit(url).path[1:]}_prepared"

    def make(path: Path) -> None:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(f'DROP DATABASE IF EXISTS "{prepared}"')  # left by a run that was killed
            admin.execute(f'CREATE DATABASE "{prepared}"')
        LiveServer(path, DATABASE_URL=_beside(url, prepared))._prepare()

    shared(prepared, make)
    name = f"parley_live_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE {name} TEMPLATE "{prepared}"')
    _prepared_databases.add(name)
    try:
        yield _beside(url, name)
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _beside(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def copy_data(there: Path, here: Path) -> None:
    """Copy a data folder, with a symlink for its static files."""
    # There are hundreds of static files, and no server writes to them.
    shutil.copytree(there, here, dirs_exist_ok=True, ignore=lambda *_: ["static"])
    if not (here / "static").exists():
        (here / "static").symlink_to((there / "static").resolve())


class LiveServer:
    """``manage.py serve`` in a minimal environment, to which ``env`` is added."""

    def __init__(self, data_dir: Path, port: int | None = None, **env: str) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/tmp"),
            "SSL_CERT_FILE": str(CERTIFICATE),
            "DATA_DIR": str(data_dir),
            "PORT": str(self.port),
            "ENV_FILE": os.devnull,  # ignore a developer's .env
            "TITLES": "first-words",  # most tests count the model's calls
            "HEARTBEAT_SECONDS": "0.3",
            "DEAD_AFTER_SECONDS": "2",
            "QUEUED_MAX_SECONDS": "0.5",
            **env,
        }
        self.process: commands.Command | None = None

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return commands.run(["manage.py", *arguments], self.env)

    def prepare(self) -> "LiveServer":
        """Prepare the data folder as ``make run`` does."""
        # It takes 3 s. On SQLite it runs once, and each server gets a copy of the result.
        url = self.env.get("DATABASE_URL")
        if url is None:
            copy_data(prepared_data_dir(), self.data_dir)
            return self
        (self.data_dir / "static").symlink_to(prepared_data_dir() / "static")
        shutil.copy2(prepared_data_dir() / "static.stamp", self.data_dir)
        if urlsplit(url).path[1:] not in _prepared_databases:
            self._prepare()
        return self

    def _prepare(self) -> None:
        done = self.manage("prepare")
        assert done.returncode == 0, done.stderr

    def start(self, stdout: IO[bytes] | None = None) -> "LiveServer":
        """Start it and wait until it is ready. Without ``stdout`` its log has both outputs."""
        with Path(os.devnull).open() as nothing, (self.data_dir / "server.log").open("ab") as log:
            streams = (nothing.fileno(), (stdout or log).fileno(), log.fileno())
            self.process = commands.Command(["manage.py", "serve"], self.env, streams)
        deadline = time.monotonic() + 90  # long enough for a busy machine
        with httpx.Client() as http:
            while time.monotonic() < deadline:
                assert self.process.poll() is None, self.output()
                try:
                    if http.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                        return self
                except httpx.TransportError:
                    time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{self.output()}")

    def kill(self) -> None:
        """Kill the server as a crash does: without signal handlers and ``finally`` blocks."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Stop the server as a deployment does, and return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(90)
        self.process = None
        return code

    def output(self) -> str:
        return (self.data_dir / "server.log").read_text()

    def member(self, name: str) -> "Member":
        """Return a new member, who signs up through the page."""
        return Member(self.url).sign_up(name)


class Member:
    """HTTP client of one member."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url
        self.name = ""  # after sign_up
        self.http = httpx.Client(base_url=url, timeout=60, transport=transport)
        weakref.finalize(self, self.http.close)

    def __enter__(self) -> "Member":
        return self

    def __exit__(self, *failure: object) -> None:
        self.http.close()

    def sign_up(self, name: str) -> "Member":
        page = self.http.get("/accounts/signup/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert token, page.text[:500]
        form = {
            "username": name,
            "email": f"{name}@example.org",
            "password1": PASSWORD,
            "password2": PASSWORD,
            "csrfmiddlewaretoken": token[1],
        }
        deadline = time.monotonic() + 70
        while True:
            done = self.http.post("/accounts/signup/", data=form, headers={"Referer": self.url})
            # One address may sign up twenty times in a minute, and a fast machine tests more members.
            if done.status_code != 429 or time.monotonic() > deadline:
                break
            time.sleep(2)
        assert done.status_code == 302, done.text[:2000]
        self.name = name
        return self

    def sign_in(self, name: str) -> "Member":
        """Start another session of a member who has signed up."""
        page = self.http.get("/accounts/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert token, page.text[:500]
        form = {"login": name, "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
        done = self.http.post("/accounts/login/", data=form, headers={"Referer": self.url})
        assert done.status_code == 302, done.text[:2000]
        return self

    def headers(self) -> dict[str, str]:
        return {"X-CSRFToken": self.http.cookies["csrftoken"]}

    @contextmanager
    def ask(self, query: str | None = None, **fields: Any) -> Iterator["Stream"]:
        """Ask a question, or answer requests, and yield the open stream."""
        body = fields if query is None else {"query": query, **fields}
        with self.http.stream("POST", "/chat/stream", json=body, headers=self.headers()) as response:
            yield Stream(response)

    def stop(self, run: str) -> httpx.Response:
        return self.http.post(f"/chat/runs/{run}/stop", headers=self.headers())

    def at(self, url: str) -> "Member":
        """Return the same member, signed in, as a client of another server of the installation."""
        other = Member(url)
        other.http.cookies.update(self.http.cookies)
        return other

    def socket(self, after: int | None = None) -> Any:
        """Open a WebSocket; return a context manager of its connection."""
        return self._connect("/ws/" + ("" if after is None else f"?after={after}"))

    def call(self, conversation: str, call: str = "") -> Any:
        """Open the socket of a call, in place of that of the ``call`` if it is named."""
        return self._connect(f"/ws/live/{conversation}/" + (f"?call={call}" if call else ""))

    def _connect(self, path: str) -> Any:
        address = self.url.replace("http", "ws") + path
        cookies = "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())
        return connect(address, origin=Origin(self.url), additional_headers={"Cookie": cookies})

    @contextmanager
    def follow(self, run: str, last_id: str = "") -> Iterator["Stream"]:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        with self.http.stream("GET", f"/chat/runs/{run}/events", headers=headers) as response:
            yield Stream(response)


class Stream:
    """The open response to an ask or to a follower."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._events = self._read()

    def _read(self) -> Iterator[SseEvent]:
        parser = SseParser()
        for chunk in self.response.iter_raw():
            yield from parser.feed(chunk)

    def until(self, wanted: Wanted) -> list[SseEvent]:
        """Return the unread events up to the wanted one; fail if the stream ends before it."""
        seen: list[SseEvent] = []
        for event in self._events:
            seen.append(event)
            if is_last(wanted, seen):
                return seen
        raise AssertionError(f"no {wanted!r} in {seen}")

    def all_events(self, *, may_break: bool = False) -> list[SseEvent]:
        """Return the unread events; with ``may_break``, those before the connection broke."""
        seen: list[SseEvent] = []
        try:
            seen.extend(self._events)  # keeps the events before an error
        except httpx.TransportError:
            if not may_break:
                raise
        return seen


def read_to_done(member: Member, seen: list[SseEvent]) -> None:
    """Reconnect with the last id until ``[DONE]``, as a browser does, for at most 40 s."""
    deadline = time.monotonic() + 40
    while not (seen and seen[-1].is_done):
        assert time.monotonic() < deadline, "I2: no end within 30 s"
        try:
            with member.follow(seen[0].run, seen[-1].id) as stream:
                if stream.response.status_code == 200:
                    seen += stream.all_events(may_break=True)
        except httpx.TransportError:
            time.sleep(0.1)


def check_with_oracle(server: LiveServer, transcripts: list[list[SseEvent]]) -> None:
    """Run the oracle on the server's own database, in another process."""
    plain = [[[event.id, event.name, event.data] for event in seen] for seen in transcripts]
    path = server.data_dir / "transcripts.json"
    path.write_text(json.dumps(plain))
    env = {**server.env, "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = commands.run(["-m", "tests.support.run_oracle", str(path)], env)
    assert done.returncode == 0, done.stderr
