"""Other servers as targets: ``adk api_server`` and ag-ui-adk, which answer in event streams."""

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from benchmarks.environments import Environment
from benchmarks.load import Reply, arrivals_of, request
from benchmarks.processes import Cores, Process, Program
from benchmarks.targets.base import Ask, free_port, model_env, started

USER = "/apps/bench/users/u/sessions"


class Peer(ABC):
    """Server in an environment of its own. Its wrong replies are counted."""

    name: str
    environment: Environment
    must_be_exact = False

    def __init__(self, folder: Path, model_port: int) -> None:
        self._folder, self._env = folder, model_env(model_port)
        self._port = free_port()

    def set_up(self) -> None:
        self._folder.mkdir()

    @abstractmethod
    def serving(self, cores: Cores) -> AbstractAsyncContextManager[Process]: ...

    async def ask_all(self, asks: Sequence[Ask]) -> list[Reply]:
        return await asyncio.gather(*(self._ask(ask) for ask in asks))

    async def read_back(self, asks: Sequence[Ask], replies: Sequence[Reply]) -> list[str | None]:
        return [await self._stored(ask) for ask in asks]

    @abstractmethod
    async def _ask(self, ask: Ask) -> Reply: ...

    async def _stored(self, ask: Ask) -> str | None:
        """Return the newest reply that the server has of a talk."""
        raise NotImplementedError

    def _process(self, *command: str, **env: str) -> Process:
        program = Program(self.environment.python)
        return Process(list(command), self._folder / "log", program, **self._env, **env)


class AdkServer(Peer):
    """``adk api_server`` with defaults: SQLite store, no sign-in, no event that ends a stream."""

    name = "adk api_server"
    environment = Environment.of_peer("adk_api_server")

    def __init__(self, folder: Path, model_port: int) -> None:
        super().__init__(folder, model_port)
        self._talks: set[str] = set()

    def set_up(self) -> None:
        agent = self._folder / "agents" / "bench"
        agent.mkdir(parents=True)
        (agent / "__init__.py").write_text("from bench import agent\n")
        (agent / "agent.py").write_text("from benchmarks.agent import agent\n\nroot_agent = agent()\n")

    def serving(self, cores: Cores) -> AbstractAsyncContextManager[Process]:
        command = ["-m", "google.adk.cli", "api_server", "--port", str(self._port), "--log_level", "warning"]
        process = self._process(*command, str(self._folder / "agents"))
        return started(process, cores, self._port, "/list-apps")

    async def ask_all(self, asks: Sequence[Ask]) -> list[Reply]:
        for ask in asks:
            if ask.talk not in self._talks:
                self._talks.add(ask.talk)
                await request(self._port, "POST", USER, body={"sessionId": ask.talk})
        return await super().ask_all(asks)

    async def _ask(self, ask: Ask) -> Reply:
        message = {"role": "user", "parts": [{"text": ask.question}]}
        body = {"appName": "bench", "userId": "u", "sessionId": ask.talk, "newMessage": message}
        answer = await request(self._port, "POST", "/run_sse", body={**body, "streaming": True})
        timed = [(at, event.json()) for at, event in answer.events()] if answer.status == 200 else []
        texts = [(at, _text_of(event)) for at, event in timed if event.get("partial")]
        last = timed[-1][1] if timed else {"error": "no event"}
        return Reply(
            answer.began,
            arrivals_of(texts),
            "".join(text for _, text in texts),
            ended=not last.get("partial") and "error" not in last,
            status=answer.status,
            error=str(last.get("error", "")),
        )

    async def _stored(self, ask: Ask) -> str | None:
        answer = await request(self._port, "GET", f"{USER}/{ask.talk}")
        events = answer.json()["events"] if answer.status == 200 else []
        return _text_of(events[-1]) if events and events[-1]["author"] != "user" else None


class AgUi(Peer):
    """ag-ui-adk behind FastAPI and uvicorn: sessions in memory, no sign-in."""

    name = "ag-ui-adk"
    environment = Environment.of_peer("ag_ui_adk")

    def serving(self, cores: Cores) -> AbstractAsyncContextManager[Process]:
        process = self._process("-m", "benchmarks.peers.ag_ui_adk.server", str(self._port))
        return started(process, cores, self._port, "/capabilities")

    async def _ask(self, ask: Ask) -> Reply:
        body = {
            "threadId": ask.talk,
            "runId": str(uuid.uuid4()),
            "messages": [{"id": str(uuid.uuid4()), "role": "user", "content": ask.question}],
            "state": {},
            "tools": [],
            "context": [],
            "forwardedProps": {},
        }
        headers = {"Accept": "text/event-stream"}
        answer = await request(self._port, "POST", "/", headers=headers, body=body)
        timed = [(at, event.json()) for at, event in answer.events()] if answer.status == 200 else []
        texts = [(at, event["delta"]) for at, event in timed if event["type"] == "TEXT_MESSAGE_CONTENT"]
        return Reply(
            answer.began,
            arrivals_of(texts),
            "".join(text for _, text in texts),
            ended=bool(timed) and timed[-1][1]["type"] == "RUN_FINISHED",
            status=answer.status,
            error=str(timed[-1][1].get("message", "")) if timed else "",
        )

    async def _stored(self, ask: Ask) -> str | None:
        answer = await request(self._port, "POST", "/agents/state", body={"threadId": ask.talk})
        messages = answer.json()["messages"] if answer.status == 200 else []
        newest = messages[-1] if messages else {"role": ""}
        return newest["content"] if newest["role"] == "assistant" else None


def _text_of(event: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in (event.get("content") or {}).get("parts") or [])
