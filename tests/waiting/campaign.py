"""Parts of the campaigns: servers of an agent whose tool asks first, and a log that lets a campaign go on."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.gemini import Gemini
from tests.support.live import LiveServer, new_database
from tests.support.services import database, find_postgres, redis_prefix
from tests.support.sse_client import SseEvent

ENGINES = ("postgresql", "sqlite")  # two servers with Redis, or one


@dataclass(frozen=True)
class Bank:
    """Servers of one installation. Its agent ``bank`` has a tool that counts its own calls in a file."""

    servers: list[LiveServer]
    folder: Path  # of the agent
    gemini: Gemini

    def sent(self, amount: int) -> int:
        """Return how often the tool has sent this amount."""
        counter = self.folder / "counter"
        return counter.read_text().split().count(str(amount)) if counter.exists() else 0


@contextmanager
def bank_of(engine: str, agent: str, **env: str) -> Iterator[Bank]:
    """Start the servers of a new installation; its agent ``bank`` is this code."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(TemporaryDirectory(prefix="parley-bank-")))
        folder = root / "agents" / "bank"
        folder.mkdir(parents=True)
        (folder / "agent.py").write_text(agent)
        gemini = Gemini()
        stack.callback(gemini.close)
        if engine == "postgresql":
            env |= stack.enter_context(redis_prefix())
            if url := os.environ.get("DATABASE_URL"):  # in a job of the tests
                env["DATABASE_URL"] = stack.enter_context(new_database(url))
            else:
                env |= stack.enter_context(database(find_postgres()))
        env |= {
            "AGENTS_DIR": str(folder.parent),
            "GOOGLE_API_KEY": "not-a-key",
            "GOOGLE_GEMINI_BASE_URL": gemini.url,
            "LIMITS": "off",
            "SECRET_KEY": "s" * 60,  # shared, so that both accept the same session
        }
        servers = []
        for name in ("one", "two") if engine == "postgresql" else ("one",):
            (root / name).mkdir()
            servers.append(LiveServer(root / name, None, **env).prepare().start())
            stack.callback(_kill, servers[-1])
        yield Bank(servers, folder, gemini)


def _kill(server: LiveServer) -> None:
    if server.process:
        server.kill()


class Log:
    """Results of a campaign's trials, one JSON object a line; a trial that is in it does not run again."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.results: dict[str, dict[str, Any]] = {each["trial"]: each for each in map(json.loads, lines)}

    def add(self, trial: str, **result: Any) -> None:
        self.results[trial] = {"trial": trial, **result}
        with self._path.open("a") as out:
            out.write(json.dumps(self.results[trial]) + "\n")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def waiting_in(events: list[SseEvent]) -> list[dict[str, Any]]:
    """Return the requests with which a run ended."""
    return [event.json() for event in events if event.name == "waiting"]
