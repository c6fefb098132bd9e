"""Parley as a target, of this checkout or of another commit."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from benchmarks.load import Reply, Response, arrivals_of, open_request, request
from benchmarks.processes import OWN, Cores, Process, Program
from benchmarks.targets.base import Ask, free_port, model_env, started
from tests.support.sse_client import text_of

CSRF = "benchmarks" + "0" * 22  # any value: the server only compares header and cookie
HEALTHZ, LIST, PAGE = "GET /healthz", "GET /api/v1/conversations", "a conversation's page"
REQUESTS = (HEALTHZ, LIST, PAGE)


class Parley:
    """``manage.py serve`` with signed-in members, each with one conversation."""

    def __init__(
        self,
        name: str,
        folder: Path,
        model_port: int,
        members: int,
        program: Program = OWN,
        /,
        **env: str,
    ) -> None:
        self.name = name
        self.must_be_exact = program == OWN  # an older one only gives the figures to compare with
        self._folder, self._members, self._program = folder, members, program
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
            [str(self._program.python), *arguments],
            cwd=self._program.root,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
        return done.stdout

    def serving(self, cores: Cores) -> AbstractAsyncContextManager[Process]:
        process = Process(["manage.py", "serve"], self._folder / "log", self._program, **self._env)
        return started(process, cores, self._port, "/readyz")

    async def ask_all(self, asks: Sequence[Ask]) -> list[Reply]:
        return await asyncio.gather(*(self._ask(ask) for ask in asks))

    async def _ask(self, ask: Ask) -> Reply:
        body = {"query": ask.question}
        if conversation := self._conversations.get(ask.talk):
            body["conversation"] = conversation
        headers = self._signed_in(ask.talk)
        return self._reply(ask, await request(self._port, "POST", "/chat/stream", headers=headers, body=body))

    def _reply(self, ask: Ask, answer: Response) -> Reply:
        timed = list(answer.events()) if answer.status == 200 else []
        events = [event for _, event in timed]
        if events:
            self._conversations.setdefault(ask.talk, events[0].json()["conversation"])
        last = [(event.name, event.is_done) for event in events[-2:]]
        return Reply(
            answer.began,
            arrivals_of((at, event.json()["text"]) for at, event in timed if event.is_text),
            text_of(events),
            ended=last == [("run.completed", False), ("", True)],
            status=answer.status,
        )

    async def read_back(self, asks: Sequence[Ask], replies: Sequence[Reply]) -> list[str | None]:
        return [await self._stored(ask) for ask in asks]

    async def _stored(self, ask: Ask) -> str | None:
        answer = await self._get(ask.talk, f"{self._conversation_path(ask.talk)}?limit=2")
        if answer.status != 200:
            return None
        newest = answer.json()["messages"]["items"][-1]
        return str(newest["text"]) if newest["role"] == "assistant" else None

    @asynccontextmanager
    async def followed(self, talk: str, readers: int) -> AsyncIterator[None]:
        """Open event streams of the talk's running run, each past its first event."""
        run = (await self._get(talk, self._conversation_path(talk))).json()["active_run"]
        opened = []
        try:
            for _ in range(readers):
                reader, writer = await open_request(
                    self._port, "GET", f"/chat/runs/{run}/events", headers=self._signed_in(talk)
                )
                opened.append(writer)
                await reader.readuntil(b"run.started")
            yield
        finally:
            for writer in opened:
                writer.close()

    async def get(self, kind: str, talk: str) -> None:
        """Send one of REQUESTS, as the member of ``talk``. Raises RuntimeError if it is refused."""
        if kind == HEALTHZ:
            answer = await request(self._port, "GET", "/healthz")
        else:
            page = f"/chat/{self._conversations.get(talk)}/"
            answer = await self._get(talk, page if kind == PAGE else "/api/v1/conversations")
        if answer.status != 200:
            raise RuntimeError(f"{kind}: status {answer.status}")

    async def _get(self, talk: str, path: str) -> Response:
        return await request(self._port, "GET", path, headers=self._signed_in(talk))

    def _conversation_path(self, talk: str) -> str:
        return f"/api/v1/conversations/{self._conversations.get(talk)}"

    def _signed_in(self, talk: str) -> dict[str, str]:
        member = self._member_of.setdefault(talk, len(self._member_of) % len(self._keys))
        return {"Cookie": f"sessionid={self._keys[member]}; csrftoken={CSRF}", "X-CSRFToken": CSRF}
