"""The agent ``bank``, which waits for a person, and answers to its requests."""

import textwrap
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from tests.agent.test_agents_that_wait import HEAD
from tests.support.client import Client
from tests.support.gemini import Gemini, Step
from tests.support.talk import Said, Talk

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]

# Each tool of an agent writes what it does to a file.
ACTS = """
    import asyncio, pathlib

    def act(what):
        with (pathlib.Path(__file__).parent / "acts").open("a") as out:
            out.write(what + "\\n")
"""


class Bank:
    """The agent ``bank`` of one test, and alice's talks with it."""

    def __init__(self, write_agents: WriteAsync, alice: Client, gemini: Gemini, folder: Path) -> None:
        self.write_agents, self.alice, self.gemini = write_agents, alice, gemini
        self.acts_file = folder / "bank" / "acts"

    async def write(self, code: str) -> None:
        """Write the agent's code, which follows HEAD and ACTS, and load it."""
        await self.write_agents(
            {"bank/agent.py": HEAD + ACTS + textwrap.indent(textwrap.dedent(code), "    ")}
        )

    async def ask(self, code: str, *answers: Sequence[Step], query: str = "Pay 5.") -> tuple[Talk, Said]:
        """Write the agent, and ask it one question. ``answers`` are those of its model."""
        await self.write(code)
        self.gemini.on(query, *answers)
        talk = Talk(self.alice)
        return talk, await talk.ask(query, agent="bank")

    @property
    def acts(self) -> list[str]:
        return self.acts_file.read_text().split() if self.acts_file.exists() else []

    async def refusal(self, talk: Talk, *answers: dict[str, Any]) -> tuple[int, str]:
        """Send answers that are refused, and return the status and the code."""
        body = {"conversation": talk.conversation, "answers": list(answers)}
        answer = await self.alice.post("/chat/stream", body)
        return answer.status, answer.json()["error"]["code"] if answer.status != 200 else ""

    async def open_now(self, talk: Talk) -> list[str]:
        """Return the ids of the requests that the conversation lists."""
        found = await self.alice.get(f"/api/v1/conversations/{talk.conversation}")
        return [request["id"] for request in found.json()["waiting"]]

    def results(self) -> list[tuple[str, Any]]:
        """Return each result in the model's last request, with the name of its call."""
        return [
            (part["functionResponse"]["name"], part["functionResponse"]["response"])
            for content in self.gemini.requests[-1]["contents"]
            for part in content["parts"]
            if "functionResponse" in part
        ]


def requests_of(said: Said) -> list[dict[str, Any]]:
    return [event.json() for event in said.named("waiting")]


def approve(request: dict[str, Any], payload: Any = None) -> dict[str, Any]:
    return {"id": request["id"], "decision": "approve", "payload": payload}


def reject(request: dict[str, Any]) -> dict[str, Any]:
    return {"id": request["id"], "decision": "reject"}


def say(request: dict[str, Any], payload: Any) -> dict[str, Any]:
    return {"id": request["id"], "decision": "answer", "payload": payload}
