"""Targets of the benchmark: how each is started, asked and read back."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.load import Reply, Response, request
from benchmarks.processes import ROOT, Cores, Process
from tests.support.sse_client import parse, text_of

KEY = "not-a-key"
CSRF = "benchmarks" + "0" * 22  # any value: the server only compares header and cookie
READY_SECONDS = 60
USER = "/apps/bench/users/u/sessions"


@dataclass(frozen=True, slots=True)
class Ask:
    """A question in a talk. The first question of a talk creates it."""

    talk: str
    question: str


class Target(Protocol):
    """A process that answers. With ``must_be_exact``, a wrong reply ends the benchmark."""

    name: str
    must_be_exact: bool

    def set_up(self) -> None:
        """Prepare once for all starts."""

    def serving(self, cores: Cores) -> Any:
        """Return a context manager that starts a new Process, yields it and stops it."""

    async def ask_all(self, asks: Sequence[Ask]) -> list[Reply]:
        """Ask all questions concurrently; return when all are answered."""

    async def read_back(self, asks: Sequence[Ask], replies: Sequence[Reply]) -> list[str | None]:
        """Return the newest stored reply of each talk."""


async def ready(process: Process, port: int, path: str) -> None:
    """Wait until the server responds with 200. Raises RuntimeError if it ends or takes too long."""
    for _ in range(READY_SECONDS * 20):
        process.check_alive()
        try:
            if (await request(port, "GET", path)).status == 200:
                return
        except OSError:
            pass  # not listening yet
        await asyncio.sleep(0.05)
    raise RuntimeError(f"{path} did not respond with 200 within {READY_SECONDS} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def model_env(model_port: int) -> dict[str, str]:
    return {"GOOGLE_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": f"http://127.0.0.1:{model_port}"}


class BareRunner:
    """ADK's Runner alone, the baseline of the other targets."""

    name = "bare Runner"
    must_be_exact = True

    def __init__(self, folder: Path, model_port: int) -> None:
        self._folder, self._env = folder, model_env(model_port)

    def set_up(self) -> None:
        self._folder.mkdir()

    @asynccontextmanager
    async def serving(self, cores: Cores) -> AsyncIterator[Process]:
        self._process = Process(["-m", "benchmarks.bare"], self._folder / "log", **self._env)
        with cores.for_measured():
            await self._process.start()
        try:
            await self._process.line()
            yield self._process
        finally:
            await self._process.stop()

    async def ask_all(self, asks: Sequence[Ask]) -> list[Reply]:
        line = await self._process.request(json.dumps([[ask.talk, ask.question] for ask in asks]))
        return [Reply(ended=True, **answer) for answer in json.loads(line)]

    async def read_back(self, asks: Sequence[Ask], replies: Sequence[Reply]) -> list[str | None]:
        return [reply.kept for reply in replies]


class Parley:
    """``manage.py serve`` with signed-in members, each with one conversation."""

    must_be_exact = True

    def __init__(self, name: str, folder: Path, model_port: int, members: int, **env: str) -> None:
        self.name = name
        self._folder, self._members = folder, members
        self._port = free_port()
        self._env = {
            **model_env(model_port),
            "DATA_DIR": str(folder),
            "ENV_FILE": os.devnull,
            "PORT": str(self._port),
            "LIMITS": "off",
            "TITLES": "first-words",  # a bare Runner writes none
            **env,
        }
        self._keys: list[str] = []
        self._conversations: dict[str, str] = {}
        self._member_of: dict[str, int] = {}

    def set_up(self) -> None:
        self._folder.mkdir()
        self._run("manage.py", "prepare")
        self._keys = json.loads(self._run("-m", "benchmarks.members", str(self._members)))

    def _run(self, *arguments: str) -> str:
        env = {"PATH": os.environ["PATH"], **self._env}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
        return done.stdout

    @asynccontextmanager
    async def serving(self, cores: Cores) -> AsyncIterator[Process]:
        process = Process(["manage.py", "serve"], self._folder / "log", **self._env)
        with cores.for_measured():
            await process.start()
        try:
            await ready(process, self._port, "/readyz")
            yield process
        finally:
            await process.stop()

    async def ask_all(self, asks: Sequence[Ask]) -> list[Reply]:
        return await asyncio.gather(*(self._ask(ask) for ask in asks))

    async def _ask(self, ask: Ask) -> Reply:
        body = {"query": ask.question}
        if conversation := self._conversations.get(ask.talk):
            body["conversation"] = conversation
        answer = await request(
            self._port,
            "POST",
            "/chat/stream",
            headers=self._signed_in(ask.talk),
            body=body,
            mark=b'data: {"text"',
        )
        if answer.status != 200:
            return Reply(answer.first_ms, "", 0, ended=False, status=answer.status)
        return self._reply(ask, answer)

    def _reply(self, ask: Ask, answer: Response) -> Reply:
        events = parse(answer.body)
        self._conversations.setdefault(ask.talk, events[0].json()["conversation"])
        completed = [event.name for event in events[-2:]] == ["run.completed", ""] and events[-1].is_done
        deltas = sum(not event.name for event in events) - events[-1].is_done
        return Reply(answer.first_ms, text_of(events), deltas, ended=completed)

    async def read_back(self, asks: Sequence[Ask], replies: Sequence[Reply]) -> list[str | None]:
        return [await self._stored(ask) for ask in asks]

    async def _stored(self, ask: Ask) -> str | None:
        path = f"/api/v1/conversations/{self._conversations.get(ask.talk)}?limit=2"
        answer = await request(self._port, "GET", path, headers=self._signed_in(ask.talk))
        if answer.status != 200:
            return None
        newest = answer.json()["messages"]["items"][-1]
        return str(newest["text"]) if newest["role"] == "assistant" else None

    def _signed_in(self, talk: str) -> dict[str, str]:
        member = self._member_of.setdefault(talk, len(self._member_of) % len(self._keys))
        return {"Cookie": f"sessionid={self._keys[member]}; csrftoken={CSRF}", "X-CSRFToken": CSRF}


class AdkServer:
    """``adk api_server`` with defaults: SQLite store, no sign-in, no event that ends a stream."""

    name = "adk api_server"
    must_be_exact = False

    def __init__(self, folder: Path, model_port: int) -> None:
        self._folder, self._env = folder, model_env(model_port)
        self._port = free_port()
        self._talks: set[str] = set()

    def set_up(self) -> None:
        agent = self._folder / "agents" / "bench"
        agent.mkdir(parents=True)
        (agent / "__init__.py").write_text("from bench import agent\n")
        (agent / "agent.py").write_text("from benchmarks.bare import agent\n\nroot_agent = agent()\n")

    @asynccontextmanager
    async def serving(self, cores: Cores) -> AsyncIterator[Process]:
        agents = str(self._folder / "agents")
        command = ["-m", "google.adk.cli", "api_server", "--port", str(self._port), "--log_level", "warning"]
        process = Process([*command, agents], self._folder / "log", **self._env)
        with cores.for_measured():
            await process.start()
        try:
            await ready(process, self._port, "/list-apps")
            yield process
        finally:
            await process.stop()

    async def ask_all(self, asks: Sequence[Ask]) -> list[Reply]:
        for ask in asks:
            if ask.talk not in self._talks:
                self._talks.add(ask.talk)
                await request(self._port, "POST", USER, body={"sessionId": ask.talk})
        return await asyncio.gather(*(self._ask(ask) for ask in asks))

    async def _ask(self, ask: Ask) -> Reply:
        message = {"role": "user", "parts": [{"text": ask.question}]}
        body = {"appName": "bench", "userId": "u", "sessionId": ask.talk, "newMessage": message}
        answer = await request(
            self._port, "POST", "/run_sse", body={**body, "streaming": True}, mark=b'"partial":true'
        )
        events = [event.json() for event in parse(answer.body)] if answer.status == 200 else []
        texts = [_text_of(event) for event in events if event.get("partial")]
        ended = bool(events) and not events[-1].get("partial") and "error" not in events[-1]
        return Reply(answer.first_ms, "".join(texts), len(texts), ended=ended, status=answer.status)

    async def read_back(self, asks: Sequence[Ask], replies: Sequence[Reply]) -> list[str | None]:
        found: list[str | None] = []
        for ask in asks:
            answer = await request(self._port, "GET", f"{USER}/{ask.talk}")
            events = answer.json()["events"] if answer.status == 200 else []
            found.append(_text_of(events[-1]) if events and events[-1]["author"] != "user" else None)
        return found


def _text_of(event: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in (event.get("content") or {}).get("parts") or [])
